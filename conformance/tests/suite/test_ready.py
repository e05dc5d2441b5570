"""Ready-made backends of others' optimizers, and a case by itself (issue 17, items 6 and 7).

No clause: the suite's ready-made backends, docs/guides/conformance.md.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mgup_conformance import all_cases, run_case
from mgup_conformance.cli import OK, main
from mgup_conformance.ready import mindspore_backend, optax_backend, torch_backend
from mgup_conformance.runner import select

torch = pytest.importorskip("torch")


def results(backend, *patterns):
    cases = select(all_cases(), patterns)
    return [run_case(backend, case, set_of="fast", level="rounding") for case in cases]


def test_torch_adamw_is_the_rule_to_rounding():
    """R1, by one line."""
    backend = torch_backend(torch.optim.AdamW, "adamw")
    found = results(backend, "run/adamw/off/float32", "hyper_off/adamw/*", "schedule_off/adamw/*")
    assert {(r.status, r.verdict) for r in found} == {("passed", "rounding")}
    assert backend.versions()["torch"] == torch.__version__


def test_what_it_has_no_argument_for_is_skipped_with_the_reason():
    backend = torch_backend(
        torch.optim.SGD, "sgd", only={"coupled_decay": True}, options=("coupled_decay",)
    )
    decoupled, coupled = results(backend, "hyper_off/sgd/*", "hyper_off/sgd_coupled/*")
    assert decoupled.status == "skipped"
    assert "coupled_decay: it is always True" in decoupled.message
    assert coupled.status == "passed"


def test_a_policy_is_chosen_by_the_classs_own_arguments():
    """Its own cautious form: a subclass stands for those of timm and others."""

    class Cautious(torch.optim.AdamW):
        def __init__(self, params, lr, betas, eps, weight_decay, caution=False):
            super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
            self.caution = caution

        def step(self):
            if not self.caution:
                return super().step()
            before = [w.detach().clone() for w in self.param_groups[0]["params"]]
            (group,) = self.param_groups
            super().step()
            for w, old in zip(group["params"], before, strict=True):
                decayed = old * (1 - group["lr"] * group["weight_decay"])
                move = w.detach() - decayed
                mask = (move * w.grad < 0).to(w.dtype)
                mask /= mask.mean().clamp(min=1e-3) if mask.numel() else 1
                w.data.copy_(decayed + move * mask)
            return None

    policies = {"off": {}, "cautious": {"caution": True}}
    backend = torch_backend(Cautious, "adamw", policies=policies, name="mine")
    found = results(backend, "hyper_cautious/adamw/*", "hyper_off/adamw/*")
    assert [r.status for r in found] == ["passed", "passed"], [r.judged for r in found]
    assert backend.name == "mine"


def test_a_state_under_another_name_is_said():
    with pytest.raises(ValueError, match="state: 'exp_average' is none of adamw's"):
        torch_backend(torch.optim.AdamW, "adamw", state={"exp_average": "m"})
    backend = torch_backend(torch.optim.AdamW, "adamw", state={"exp_avg": "m"})
    (found,) = results(backend, "run/adamw/off/float32")
    assert found.status == "error"
    assert "no 'm': give state=" in found.message


def test_optax_without_mgup():
    """optax forms 1 - beta**t by float32's pow, and the suite says so (N3)."""
    optax = pytest.importorskip("optax")
    backend = optax_backend(optax.adamw, "adamw", state={"exp_avg": "mu", "exp_avg_sq": "nu"})
    (found,) = results(backend, "no_decay_off/adamw/*")
    assert found.verdict == "different"
    assert found.charged == ("N3",)
    assert found.diagnosis == "as if: 1 - beta^t is formed by pow (N3)"
    lion = optax_backend(optax.lion, "lion", state={"exp_avg": "mu"})
    assert results(lion, "hyper_off/lion/*")[0].status == "passed"


def test_mindspores_sgd():
    nn = pytest.importorskip("mindspore.nn")
    backend = mindspore_backend(
        nn.SGD, "sgd", state={"momentum_buffer": "accum"}, only={"coupled_decay": True},
        options=("coupled_decay",),
    )  # fmt: skip
    assert results(backend, "hyper_off/sgd_coupled/*")[0].status == "passed"


@pytest.mark.parametrize(
    "name", ["run/adamw/mgup/float32", "rank/nan/float32", "golden/run/adamw/mgup/float32"]
)
def test_a_case_by_itself_needs_no_suite(name, tmp_path, capsys, toys):
    """The script of `show` runs a backend on the arrays, and imports nothing of ours."""
    assert main(["show", name, "--to", str(tmp_path)]) == OK
    stem = name.replace("/", "_")
    script = tmp_path / f"{stem}.py"
    assert "mgup_conformance" not in script.read_text()
    assert len(script.read_text().splitlines()) <= 18
    for port, differs in (("Port", False), ("WrongPort", "run/" in name)):
        done = subprocess.run(
            [sys.executable, script.name, f"toy_port:{port}"], cwd=tmp_path, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines
        clean = all(line.endswith(" 0.0") or " 0 of " in line for line in lines)
        assert clean is not differs


def test_a_report_says_what_made_it(tmp_path, capsys):
    file, page = tmp_path / "x.json", tmp_path / "x.html"
    arguments = ["run", "--fast", "--case", "count/decimals", "--json", str(file)]
    assert main([*arguments, "--html", str(page), "--level", "rounding"]) == OK
    plain = json.loads(file.read_text())
    assert len(plain["suite"]["spec_sha256"]) == 64
    (one,) = plain["backends"]
    assert one["command"] == (
        "mgup-conformance run --fast --case count/decimals --backend numpy --level rounding"
    )
    assert one["levels"]["identical"] == 1
    text = page.read_text()
    assert plain["suite"]["spec_sha256"] in text
    assert one["command"] in text


def test_version(capsys):
    assert main(["--version"]) == OK
    assert "mgup 0" in capsys.readouterr().out


def test_a_wide_report_reads_in_80_columns(tmp_path, capsys):
    backends = [w for name in ("numpy", "array_api_strict", "torch") for w in ("--backend", name)]
    main(["run", "--fast", "--case", "count/decimals", *backends])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("array_api_strict" in line for line in lines)
