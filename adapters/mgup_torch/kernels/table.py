"""The columns of the tables that the kernels read: one row of int64 for each slice."""

from __future__ import annotations

# What is known before the step. STEP is the address of the count of steps taken, a float32 tensor;
# where it is 0, T is the step. LEADS is 1 for one slice of each parameter, which advances the
# count. Learning rate and the like are the bits of a float64.
D, K, FIRST_BLOCK, CANDIDATES, CAPACITY = range(5)
STEP, T, LEADS = range(5, 8)
LR, WEIGHT_DECAY, ALPHA, GAMMA = range(8, 12)
POINTERS = 12
"""The columns from here on: the addresses of w, g and each state array."""

# What is found out during it (a record): the range BASE … TOP of keys in which the threshold is
# sought, by digits of SHIFT, and then the threshold.
BASE, TOP, SHIFT, RANK, STATUS, COUNTED, THRESHOLD, QUOTA, TIES = range(9)
RECORD = 9
