"""What all adapters share: modes, signatures, docstrings, reserved names, Muon's routing."""
