"""The numbers that decide how fast a plan is, and never what it computes; measured on an H100."""

from __future__ import annotations

BLOCK, WARPS = 1024, 4
"""Coordinates and warps of a program that reads coordinates: eight coordinates a thread, so that
what is done once a block weighs little."""
DIVISOR = 8
"""What divides the lengths of aligned slices, so that a thread loads four neighbours at once."""
SLICES = 64
"""Slices of a program that computes scalars."""

# -- a first bracket, and the search in it -------------------------------------------------------

SAMPLE, CHUNK = 16384, 4
"""Scores of the sample of a slice, and neighbours drawn together."""
SAMPLE_WARP = 512
"""Scores of a sample for each warp of its program."""
DEVIATIONS = 4.0
"""Half the width of a bracket in standard deviations of a rank in the sample: one bracket in 16,000
misses the threshold, which costs at most a third of a step."""
ROOM = 1.25
"""Room for candidates, over the expected number of scores in a bracket."""
CANDIDATES = 2048
"""Candidates that a program reads."""
RESCANNERS, ONE_PASS_RESCANNERS = 1024, 512
"""Programs that read all scores where a bracket missed the threshold; fewer where that is rare and
others run beside them, in one pass."""
TIE_BLOCKS = 128
"""Blocks of a program that counts ties."""
TIE_COUNTS = 4096
"""Counts of ties that a program adds up at once."""

# -- batches: coordinates of a batch = max(LEAST, all coordinates / PARTS) -------------------------

LEAST, PARTS = 9 << 22, 10
SHARED_PARTS = 4
"""In place of PARTS where each batch costs collectives."""
WORKSPACES = 2
"""Batches at work at once: the small launches of one hide behind the reads of another."""
ONE_PASS_LEAST, ONE_PASS_PARTS, ONE_PASS_WORKSPACES = 7 << 20, 20, 3
"""The same in one pass, where the scores in a bracket take more memory and a batch less time."""

# -- one pass ------------------------------------------------------------------------------------

ONE_PASS, ONE_PASS_NARROW, NARROW = 1 << 18, 1 << 22, 16
"""Coordinates of the shortest slice that may take its step in one pass: ONE_PASS, or
ONE_PASS_NARROW if a step moves at most NARROW bytes a coordinate."""
ONE_PASS_TOTAL, ONE_PASS_SHARE = 1 << 23, 0.75
"""What such slices of a plan must have together: so many coordinates, since fewer scores are read
again from the cache, and this share of the plan's."""
ONE_PASS_SAMPLE, ONE_PASS_DEVIATIONS = 4096, 3.0
"""SAMPLE and DEVIATIONS in one pass, where the first bracket only places the edges."""
VERIFY_CHUNK, VERIFY_CHUNKS, EDGES = 8, 64, 64
"""Neighbours of a chunk that is drawn to verify a bracket, chunks of a program, and edges to choose
the bracket's ends from."""
LIST_ROOM, FILL = 1.25, 0.95
"""Room in the list, over the expected number of scores in a verified bracket; and the share of the
list that a bracket may be expected to need."""
LISTS, ENTRIES = 16, 32
"""Blocks whose lists a program reads, and entries of each that it reads at once."""
DEFERRED_BLOCKS = 8
"""Blocks of a program that takes deferred steps."""
