"""The columns of the tables that the kernels read: one row of int64 for each slice."""

from __future__ import annotations

# What is known before the step. D is the length of the slice, or of the part of it that lies on
# this device; TOTAL is that of the whole, of which K are selected. STEP is the address of the count
# of steps taken, a float32 tensor; where it is 0, T is the step. LEADS is 1 for one slice of each
# parameter, which advances the count. Learning rate and the like are the bits of a float64. NUMBERS
# is the address of what the program takes of the rule's floats, a row of float32.
D, TOTAL, K, FIRST_BLOCK, FIRST_CHUNK, CANDIDATES, CAPACITY = range(7)
STEP, T, LEADS = range(7, 10)
LR, WEIGHT_DECAY, ALPHA, GAMMA, NUMBERS = range(10, 15)
# Of a slice that may take its step in one pass: how many chunks are drawn from it to verify its
# bracket, else 0; and the first of the programs that draw them.
DRAWS, FIRST_DRAW = 15, 16
POINTERS = 17
"""The columns from here on: the addresses of w, g and each state array."""

# What is found out during it (a record): a guess LOW … HIGH, the range BASE … TOP of keys in which
# the threshold is sought, by digits of SHIFT, and then the threshold. COUNTED and TIED are of what
# lies on this device, the others of the whole slice.
LOW, HIGH, BASE, TOP, SHIFT, RANK, STATUS, COUNTED, THRESHOLD, QUOTA, TIES, TIED = range(12)
# Whether the bracket is VERIFIED, so that the slice takes its step in one pass; how many entries of
# its list are WRITTEN, fewer than COUNTED where it was too short; and a key in the bracket, MIDDLE,
# above which a coordinate is amplified until the threshold is known.
VERIFIED, WRITTEN, MIDDLE = range(12, 15)
RECORD = 15

# The status of a search: the threshold is sought among the copies, or among all scores; once it is
# found, that and FOUND.
AMONG_CANDIDATES, AMONG_ALL, FOUND = range(3)
DIGIT_BITS = 8
WHOLE_RANGE = 32 - DIGIT_BITS
"""The shift that leaves one digit of a key."""

# Flags of a batch: how many slices must be searched over all scores, and of how many only some ties
# are selected, and how many slices have blocks that wait for the threshold.
UNFINISHED, UNEVEN, WAITING = range(3)
