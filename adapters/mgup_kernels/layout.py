"""The arrays on the device that the kernels share, column by column.

==================  =========================  ====================================================
argument            shape and dtype            what it holds
==================  =========================  ====================================================
``slice_table``     (slices, columns) int64    one row a slice, written by the host: the columns
                                               from ``LOCAL_LENGTH`` to ``ADDRESSES`` below
``search_records``  (slices, RECORD) int64     what the kernels have found out of each slice: the
                                               columns from ``GUESS_LOW`` below
``slice_scalars``   (slices, scalars) float32  scalars that the coordinates of a slice share, such
                                               as the bias corrections
``batch_flags``     (FLAGS,) int32             counters of one batch: ``FULL_SEARCHES`` and so on
``block_slice``     (blocks,) int32            the slice of each block of BLOCK coordinates
``histograms``      (slices, 256) int32        how many keys have each digit; zero between launches
==================  =========================  ====================================================

``table_stride`` and ``scalars_stride`` are the lengths of a row. In a kernel ``row`` and ``record``
are the addresses of the slice's own rows. For each block of a batch there are an int32 in
``block_counts`` (its scores in the bracket, later the ties in earlier blocks), and in
``list_starts`` and ``list_lengths`` (its run of the slice's list of candidates; a length of -1
defers the block's step).
"""

from __future__ import annotations

# -- slice_table ---------------------------------------------------------------------------------
# LENGTH is d of the specification and K the number of selected coordinates; LOCAL_LENGTH of the d
# lie on this device. FIRST_CANDIDATE and CAPACITY are the slice's run of the list of candidates.
LOCAL_LENGTH, LENGTH, K, FIRST_BLOCK, FIRST_CHUNK, FIRST_CANDIDATE, CAPACITY = range(7)
# STEP_ADDRESS points to the count of steps taken, a float32 tensor; where it is 0, the step that is
# taken now is STEP. ADVANCES_STEP is 1 for one slice of each parameter, which adds 1 to the count.
STEP_ADDRESS, STEP, ADVANCES_STEP = range(7, 10)
# The bits of a float64 each, but NUMBERS_ADDRESS: it points to a row of float32, the values that
# the program reads of the rule's fields.
LR, WEIGHT_DECAY, ALPHA, GAMMA, NUMBERS_ADDRESS = range(10, 15)
# SAMPLE_CHUNKS chunks are drawn to verify the bracket of a slice that may take its step in one
# pass, 0 from others; FIRST_SAMPLER is the first of the programs that draw them.
SAMPLE_CHUNKS, FIRST_SAMPLER = 15, 16
ADDRESSES = 17
"""The columns from here on point to w, g and each array of the rule's state."""

# -- search_records ------------------------------------------------------------------------------
# Scores are compared as keys: int32 in the order of the scores. The bracket (GUESS_LOW, GUESS_HIGH]
# comes from a sample. The threshold is sought in RANGE_LOW ... RANGE_HIGH, both included, digit by
# digit; the present digit begins at bit DIGIT_SHIFT, and the threshold is the RANK_IN_RANGE-th
# largest there. BRACKET_COUNTS has two counts of the coordinates on this device: above the bracket
# from bit 32 on, in the bracket below. Of the TIES that equal THRESHOLD, TIE_QUOTA are selected;
# LOCAL_TIES of them lie on this device.
GUESS_LOW, GUESS_HIGH, RANGE_LOW, RANGE_HIGH, DIGIT_SHIFT, RANK_IN_RANGE, STATUS = range(7)
BRACKET_COUNTS, THRESHOLD, TIE_QUOTA, TIES, LOCAL_TIES = range(7, 12)
# VERIFIED is 1 if the slice takes its step in one pass. Its list has LIST_LENGTH entries, fewer
# than the scores in the bracket if it was too short for them. LIKELY_THRESHOLD is a key of the
# bracket: above it a coordinate is amplified until the threshold is known.
VERIFIED, LIST_LENGTH, LIKELY_THRESHOLD = range(12, 15)
RECORD = 15

# STATUS: the threshold is sought among the candidates, or among all scores; FOUND is added once it
# is known.
AMONG_CANDIDATES, AMONG_ALL, FOUND = range(3)
DIGIT_BITS = 8
FIRST_SHIFT = 32 - DIGIT_BITS
"""The shift of the highest digit of a key."""

# -- batch_flags ---------------------------------------------------------------------------------
# How many searches go over all scores (slices, or blocks of verified slices); in how many slices
# only some of the ties are selected; how many slices or blocks have deferred their step.
FULL_SEARCHES, PARTIAL_TIES, DEFERRED = range(3)
FLAGS = 4  # a multiple of 16 bytes, so that all batches have the same binaries
