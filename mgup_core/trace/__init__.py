"""A rule and a policy recorded as a straight-line program, for the targets that print it."""
