"""Experimental rules, whose papers are young or whose evidence is thin."""
