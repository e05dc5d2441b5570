"""What all adapters share: the words for modes, signatures, reserved names, and Muon's routing."""
