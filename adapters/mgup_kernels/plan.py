"""Slices that take their step together: the launches of its kernels, in their order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from . import apply, compiled, layout, one_pass, radix_select, sample_bracket, ties, tuning, verify
from .batches import Batch, MeshGroup, Workspace
from .device import Array
from .memory import Memory


class Plan(Memory):
    """The step of some slices of one kind on one device, with all memory that it needs."""

    def launch(self) -> None:
        """Rank and step, by the arrays on the device; returns before the device is done."""
        self._compute_scalars(self.functions.early_scalars)
        if self.ranks and self.mesh_group is not None:
            self._sample_brackets(0, len(self.rows))
            self._merge_brackets(self.mesh_group)
        elif not self.ranks and self.functions.statistic is not None:
            self._count_positive()
        if self.ranks:
            self.device.clear(self.batch_flags)
        if self.host_misses is not None:
            self.device.copy_to_host(self.misses, self.host_misses)
        for workspace in self.workspaces:
            workspace.fork()
        bracketed = self._bracket_ahead()
        workspaces = itertools.cycle(self.workspaces)
        for i, (workspace, batch, event) in enumerate(
            zip(workspaces, self.batches, bracketed, strict=False)
        ):
            flags = self.batch_flags[i]
            with workspace.small_launches():
                if self.ranks:
                    self._rank(batch, workspace, flags, event)
                if batch.samplers:
                    self._finish_one_pass(batch, workspace, flags)
                elif batch.blocks:
                    self._apply_step(batch, workspace)
        for workspace in self.workspaces:
            workspace.join()
        n = len(self.rows)
        self._launch(
            apply.advance_steps, -(-n // tuning.SLICES),
            self.slice_table, self.strides[0], n, self.samples_drawn, WIDTH=tuning.SLICES,
            num_warps=2,
        )  # fmt: skip

    def launches(self) -> list[compiled.Launch]:
        """What :meth:`launch` launches, to be compiled before; without collectives."""
        launches: list[compiled.Launch] = []

        def note(kernel: Any, grid: int, *args: Any, **options: Any) -> None:
            launches.append(compiled.Launch(kernel, args, options))

        self._launch = note
        try:
            self.launch()
        finally:
            self._launch = self.device.launch
        return launches

    def check(self) -> None:
        """Raise if an earlier step was not exact, as far as the device has reported.

        Raises:
            RuntimeError: the proof in :mod:`verify <.verify>` gives it a probability below 2e-17.
        """
        if self.host_misses is not None and self.host_misses[0]:
            raise RuntimeError(
                f"in an earlier step {int(self.host_misses[0])} slices had their threshold outside "
                "of a verified bracket, and some of their coordinates took the other multiplier. "
                "Load a checkpoint from before, and report it: chance alone does not explain it."
            )

    def _compute_scalars(self, function: Callable[..., Any]) -> None:
        n = len(self.rows)
        self._launch(
            apply.compute_scalars, -(-n // tuning.SLICES),
            self.slice_table, self.positive_counts, self.slice_scalars, *self.strides, n,
            SCALARS=function, WIDTH=tuning.SLICES, num_warps=2, enable_fp_fusion=False,
        )  # fmt: skip

    def _count_positive(self) -> None:
        self.device.clear(self.positive_counts)
        for batch in self.batches:
            if batch.blocks:
                self._launch(
                    apply.count_positive, batch.blocks,
                    self.slice_table, self.positive_counts, self.slice_scalars, *self.strides,
                    self.block_slice, batch.first_block, STATISTIC=self.functions.statistic,
                    **self.block_options,
                )  # fmt: skip
        if self.mesh_group is not None:
            self.mesh_group.all_reduce_sum_(self.positive_counts)
        self._compute_scalars(self.functions.late_scalars)

    def _sample_brackets(self, first_slice: int, slices: int) -> None:
        self._launch(
            sample_bracket.sample_bracket, slices,
            *self._arrays, first_slice, STATISTIC=self.functions.statistic, SAMPLE=self.sample,
            CHUNK=tuning.CHUNK, DIVISOR=self.block_options["DIVISOR"], DEVIATIONS=self.deviations,
            num_warps=self.sample // tuning.SAMPLE_WARP, enable_fp_fusion=False,
        )  # fmt: skip

    def _bracket_ahead(self) -> list[Any]:
        """The brackets of all batches on their own stream, and the event after each batch's."""
        if self.bracket_stream is None:
            return [None] * len(self.batches)
        events = []
        self.bracket_stream.wait_stream(self.device.current_stream())
        with self.device.on(self.bracket_stream):
            for i, batch in enumerate(self.batches):
                self._sample_brackets(batch.first_slice, batch.slices)
                if batch.samplers:
                    self._verify(batch, self.batch_flags[i])
                events.append(self.bracket_stream.record_event())
        return events

    def _rank(self, batch: Batch, workspace: Workspace, flags: Array, bracketed: Any) -> None:
        """Find the threshold of each slice of a batch, and its ties in earlier blocks.

        Args:
            bracketed: the event after which the batch has its brackets, or ``None``.
        """
        if bracketed is not None:
            self.device.current_stream().wait_event(bracketed)
        elif self.mesh_group is None:
            self._sample_brackets(batch.first_slice, batch.slices)
            if batch.samplers:
                self._verify(batch, flags)
        if batch.blocks:
            with workspace.large_launches():
                self._read_scores(batch, workspace, flags)
        counts = None if self.mesh_group is None else self._share_counts(self.mesh_group, batch)
        self._launch(
            radix_select.check_bracket, batch.slices,
            self.slice_table, self.search_records, self.strides[0], batch.first_slice, flags,
            counts, self.misses, SHARED=self.mesh_group is not None, num_warps=1,
        )  # fmt: skip
        for _ in range(32 // layout.DIGIT_BITS):
            self._select_digit(batch, workspace, flags)
        if batch.blocks:
            self._launch(
                ties.count_ties, -(-batch.blocks // tuning.TIE_BLOCKS),
                *self._arrays, self.block_slice, batch.first_block, batch.blocks,
                workspace.block_counts, workspace.list_starts, workspace.list_lengths,
                workspace.candidates, flags, STATISTIC=self.functions.statistic,
                GROUP=tuning.TIE_BLOCKS, **self.block_options,
            )  # fmt: skip
        self._launch(
            ties.prefix_sum_ties, batch.slices,
            self.slice_table, self.search_records, self.strides[0], batch.first_slice,
            batch.first_block, workspace.block_counts, flags, BLOCK=tuning.BLOCK,
            WIDTH=tuning.TIE_COUNTS, num_warps=8,
        )  # fmt: skip
        if self.mesh_group is not None:
            self._share_ties(self.mesh_group, batch)

    def _read_scores(self, batch: Batch, workspace: Workspace, flags: Array) -> None:
        """The first read: count scores and list candidates; in one pass, also take the step."""
        if batch.samplers:
            self._launch(
                one_pass.apply_one_pass, batch.blocks,
                *self._arrays, self.block_slice, batch.first_block, workspace.block_counts,
                workspace.list_starts, workspace.list_lengths, workspace.candidates,
                workspace.other_parameters, workspace.block_offsets, flags,
                STATISTIC=self.functions.statistic, BOTH_UPDATES=self.functions.both_updates,
                STORE=self.functions.store, **self.block_options,
            )  # fmt: skip
        else:
            self._launch(
                radix_select.count_against_bracket, batch.blocks,
                *self._arrays, self.block_slice, batch.first_block, workspace.block_counts,
                workspace.list_starts, workspace.candidates, STATISTIC=self.functions.statistic,
                **self.block_options,
            )  # fmt: skip

    def _select_digit(self, batch: Batch, workspace: Workspace, flags: Array) -> None:
        """Narrow the range of each slice of a batch by one digit."""
        if batch.blocks:
            rescanners = tuning.ONE_PASS_RESCANNERS if batch.samplers else tuning.RESCANNERS
            self._launch(
                radix_select.count_digits, max(batch.chunks, min(batch.blocks, rescanners)),
                *self._arrays, self.chunk_slice, batch.first_chunk, batch.chunks, self.block_slice,
                batch.first_block, batch.blocks, workspace.list_lengths, workspace.candidates,
                self.histograms, flags, STATISTIC=self.functions.statistic,
                CANDIDATES=tuning.CANDIDATES, **self.block_options,
            )  # fmt: skip
        if self.mesh_group is not None:
            mine = slice(batch.first_slice, batch.first_slice + batch.slices)
            self.mesh_group.all_reduce_sum_(self.histograms[mine])
        self._launch(
            radix_select.select_digit,
            batch.slices,
            self.search_records,
            batch.first_slice,
            self.histograms,
            flags,
            num_warps=2,
        )

    def _verify(self, batch: Batch, flags: Array) -> None:
        """Decide which slices of a batch take their step in one pass."""
        options = {
            "CHUNK": tuning.VERIFY_CHUNK,
            "EDGES": tuning.EDGES,
            "GUESSED": self.deviations / self.sample**0.5,
        }
        self._launch(
            verify.count_sample, batch.samplers,
            *self._arrays, self.sampler_slice, batch.first_sampler, self.sample_sums,
            self.samples_drawn, STATISTIC=self.functions.statistic, WIDTH=tuning.VERIFY_CHUNKS,
            DIVISOR=self.block_options["DIVISOR"], **options, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        self._launch(
            verify.verify_bracket, batch.slices,
            self.slice_table, self.search_records, self.strides[0], batch.first_slice,
            self.sample_sums, flags, FILL=tuning.FILL, **options, num_warps=1,
            enable_fp_fusion=False,
        )  # fmt: skip

    def _apply_step(self, batch: Batch, workspace: Workspace) -> None:
        """The second read: the step of a batch whose selection is known."""
        with workspace.large_launches():
            self._launch(
                apply.apply_step, batch.blocks,
                *self._arrays, self.block_slice, batch.first_block, workspace.block_counts,
                UPDATE=self.functions.update, **self.block_options,
            )  # fmt: skip

    def _finish_one_pass(self, batch: Batch, workspace: Workspace, flags: Array) -> None:
        """Correct what was written in one pass, and take the deferred steps."""
        blocks = self.block_slice, batch.first_block, batch.blocks
        self._launch(
            one_pass.correct_likely, -(-batch.blocks // tuning.LISTS),
            self.slice_table, self.search_records, self.strides[0], *blocks,
            workspace.block_counts, workspace.list_starts, workspace.list_lengths,
            workspace.candidates, workspace.other_parameters, workspace.block_offsets,
            BLOCK=tuning.BLOCK, GROUP=tuning.LISTS, WIDTH=tuning.ENTRIES, num_warps=4,
        )  # fmt: skip
        self._launch(
            one_pass.apply_deferred, -(-batch.blocks // tuning.DEFERRED_BLOCKS),
            *self._arrays, *blocks, workspace.block_counts, workspace.list_lengths, flags,
            UPDATE=self.functions.update, GROUP=tuning.DEFERRED_BLOCKS, **self.block_options,
        )  # fmt: skip

    # -- with the other devices of a mesh group, each of which makes the same calls --------------

    def _merge_brackets(self, mesh_group: MeshGroup) -> None:
        """Replace each device's brackets by those that span all devices'."""
        n, bounds = len(self.rows), self.bounds
        self._launch(sample_bracket.write_bounds, n, self.search_records, bounds, num_warps=1)
        bounds = mesh_group.all_reduce_max(bounds)
        self._launch(sample_bracket.merge_brackets, n, self.search_records, bounds, num_warps=1)

    def _share_counts(self, mesh_group: MeshGroup, batch: Batch) -> Array:
        """The counts of :func:`radix_select.check_bracket` over all devices."""
        counts = self.shared_counts[batch]
        self._launch(
            radix_select.write_counts, batch.slices,
            self.slice_table, self.search_records, self.strides[0], batch.first_slice, counts,
            num_warps=1,
        )  # fmt: skip
        mesh_group.all_reduce_sum_(counts)
        return counts

    def _share_ties(self, mesh_group: MeshGroup, batch: Batch) -> None:
        """Leave to this device's quotas what the ties on earlier devices do not use up."""
        n, ranks, ties_by_rank = batch.slices, self.world_size, self.ties_by_rank[batch]
        shared = self.search_records, batch.first_slice, ties_by_rank, mesh_group.rank
        self._launch(ties.write_local_ties, n, *shared, ranks, num_warps=1)
        mesh_group.all_reduce_sum_(ties_by_rank)
        self._launch(ties.subtract_earlier_ties, n, *shared, num_warps=1)
