"""Which coordinates are selected (P2 to P5). Each file holds one algorithm."""
