"""Arithmetic that gives the same bits on every backend (N1 to N10)."""
