"""Does MGUP help? An audit with controls, small and resumable; see ``examples/audit/README.md``."""
