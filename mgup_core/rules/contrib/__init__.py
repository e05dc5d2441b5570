"""Rules that are experimental: their papers are young, or their evidence is thin."""
