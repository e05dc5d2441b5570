"""Models under FSDP2 and tensor parallelism; checkpoints; a process that is killed (issue 6).

It checks P4, R4.
"""

from __future__ import annotations

import pytest

from .workers import Workers

KINDS = ("fsdp", "hsdp", "mixed precision", "tensor parallel")


@pytest.mark.parametrize("kind", KINDS)
def test_models(four, kind):
    """Weights and state are those of the unsharded optimizer under the same gradients."""
    placements = four.run("fsdp.train", kind)[0]
    if kind == "tensor parallel":
        assert any("StridedShard" in text for text in placements)


def test_accumulation_and_clipping(two):
    """Gradients of several backward passes, synchronised in the last; one norm for all ranks."""
    two.run("fsdp.train", "fsdp", parts=3, clip=0.5)


@pytest.mark.parametrize(
    "options", [{"ns_dtype": "float32"}, {"ns_dtype": "float32", "mode": "off"}]
)
@pytest.mark.parametrize("kind", KINDS)
def test_muon(four, kind, options):
    """R4: each matrix is orthogonalised whole, once; the rest steps by AdamW."""
    four.run("fsdp.train", kind, name="MGUPMuon", **options)


COUPLED = ["MGUPProdigy", "MGUPAdafactor", "MGUPScheduleFreeAdamW", "MGUPScheduleFreeRAdam",
           "MGUPSOAP"]  # fmt: skip


@pytest.mark.parametrize(
    "name", [COUPLED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in COUPLED[1:])]
)
def test_schedules_and_sums(two, name):
    """One learning rate that moves, sums of rows, of tensors and of all parameters (issue 22)."""
    options = {"momentum": 0.9} if name == "MGUPAdafactor" else {}
    two.run("fsdp.train", "fsdp", name=name, scheduled=True, **options)


@pytest.mark.slow
def test_a_checkpoint_of_sums(four, two, tmp_path):
    """Numbers and matrices of the state, which every rank has, at another world size."""
    for name in ("MGUPProdigy", "MGUPSOAP"):
        folder = str(tmp_path / name)
        saved = four.run("fsdp.save", folder, steps=2, name=name)[0]
        equal(saved, two.run("fsdp.load", folder, steps=2, name=name)[1])


def equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.tobytes() == other[name].tobytes(), name


def test_checkpoint_at_another_world_size(four, two, tmp_path):
    """Saved by four ranks, loaded by two, and by four in another layout: the same next steps."""
    saved = four.run("fsdp.save", str(tmp_path / "four"), steps=2)[0]
    equal(saved, two.run("fsdp.load", str(tmp_path / "four"), steps=2)[1])
    equal(saved, four.run("fsdp.load", str(tmp_path / "four"), steps=2, kind="hsdp")[3])


def test_from_and_to_one_process(two):
    two.run("fsdp.from_one_process")


def test_killed_in_the_middle_of_a_step(two, tmp_path):
    """Resumed from the last checkpoint, the run has the bits of one that was not interrupted."""
    expected = two.run("fsdp.save", str(tmp_path / "expected"), steps=2)[0]
    doomed = Workers(2, timeout=5)
    try:
        with pytest.raises(AssertionError, match="rank 1 died"):
            doomed.run("fsdp.killed", str(tmp_path / "doomed"), steps=2)
    finally:
        doomed.close()
    assert (tmp_path / "doomed" / "began-1").exists()
    equal(expected, two.run("fsdp.load", str(tmp_path / "doomed"), steps=2)[0])
