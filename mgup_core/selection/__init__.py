"""Which coordinates are selected (P2 to P5): each file is one algorithm."""
