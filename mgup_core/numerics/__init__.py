"""Arithmetic that gives the same bits everywhere: clauses N1 to N10 of the specification."""
