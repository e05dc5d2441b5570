"""Refusals: clear, and before anything changes (P3, P7, R4, R6)."""

from __future__ import annotations

import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

from mgup_mindspore import MGUPSGD, MGUPAdamW, MGUPMuon, MGUPProdigy

from .support import arrays, parameters, tensors, to_numpy


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"beta1": 1.0}, r"beta1=1.0 is outside \[0, 1\)"),
        ({"eps": -1e-8}, "eps=-1e-08"),
        ({"tau": 1.5}, "tau=1.5"),
        ({"alpha": 0.5}, "alpha=0.5"),
        ({"gamma": 0.0}, "gamma=0.0"),
        ({"mode": "ranks"}, "mode='ranks'"),
        ({"tau_min": 0.0}, "tau_min=0.0"),
        ({"stacked_dims": 3}, "stacked_dims=3"),
        ({"state_dtype": ms.int32}, "state_dtype"),
        ({"form": "papers"}, "form='papers'"),
        ({"learning_rate": 1e39}, r"learning_rate=1e\+39 is beyond float32"),
        ({"weight_decay": 1e39}, r"weight_decay=1e\+39 is beyond float32"),
        ({"alpha": 1e39}, r"alpha=1e\+39 is beyond float32"),
        ({"eps": 1e39}, r"eps=1e\+39 is beyond float32"),
    ],
    ids=str,
)
def test_numbers_out_of_range(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MGUPAdamW(parameters(arrays()), **kwargs)


def test_unknown_arguments():
    said = r"MGUPAdamW.*betas'; did you mean .beta2.\? It takes params, learning_rate"
    with pytest.raises(TypeError, match=said):
        MGUPAdamW(parameters(arrays()), betas=(0.9, 0.99))
    with pytest.raises(TypeError, match="taus"):
        MGUPMuon(parameters(arrays()), taus=0.5)


def test_unknown_group_key_names_the_nearest():
    with pytest.raises(
        KeyError, match="of MGUPAdamW holds 'weigth_decay'; did you mean 'weight_decay'"
    ):
        MGUPAdamW([{"params": parameters(arrays()), "weigth_decay": 0.1}])
    with pytest.raises(ValueError, match="gamma=2"):
        MGUPAdamW([{"params": parameters(arrays()), "gamma": 2.0}])
    with pytest.raises(ValueError, match="grad_centralization"):
        MGUPAdamW([{"params": parameters(arrays()), "grad_centralization": True}])


def test_integer_parameters():
    with pytest.raises(TypeError, match=r"count has dtype Int32"):
        MGUPSGD([Parameter(Tensor(np.zeros(3, np.int32)), name="count")])


def test_muon_trains_matrices():
    with pytest.raises(ValueError, match="bias: Muon trains matrices"):
        MGUPMuon([{"params": parameters([np.zeros(3, np.float32)], ["bias"]), "use_muon": True}])
    with pytest.raises(ValueError, match="ns_dtype='bfloat16'"):
        MGUPMuon(parameters([np.zeros((3, 3), np.float32)]), ns_dtype="bfloat16")


def test_prodigy_takes_one_learning_rate():
    """One estimate serves all parameters (R0); a decay of its own is no other estimate."""
    first, *others = parameters(arrays(((3, 4), (5,), (2, 2))))
    groups = [{"params": [first], "lr": 0.5}, {"params": others}]
    with pytest.raises(ValueError, match=r"learning rates.*one estimate of Prodigy.*optimizer of"):
        MGUPProdigy(groups, 1.0)
    MGUPProdigy([{"params": [first], "weight_decay": 0.5}, {"params": others}], 1.0)
    MGUPAdamW(groups, 1.0)


@pytest.mark.parametrize("compiled", [False, True], ids=["pynative", "graph"])
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda gs: gs[:-1], ValueError, "2 gradients were given for 3 parameters"),
        (lambda gs: (*gs[:2], gs[2].T), ValueError, "they must agree"),
        (lambda gs: (*gs[:2], gs[2].astype(np.float64)), TypeError, "they must agree"),
    ],
    ids=["count", "shape", "dtype"],
)
def test_gradients_that_do_not_fit(spoil, error, message, compiled):
    """Nothing has changed then, the count of steps included."""
    values = arrays(((7, 5), (33,), (4, 3)))
    made = MGUPAdamW(parameters(values))
    take = ms.jit(made.construct) if compiled else made
    before = [to_numpy(p) for p in made.get_parameters()]
    with pytest.raises(error, match=message):
        take(tensors(spoil(tuple(values))))
    for p, old in zip(made.get_parameters(), before, strict=True):
        assert to_numpy(p).tobytes() == old.tobytes(), p.name


def test_a_checkpoint_of_another_shape(tmp_path):
    path = str(tmp_path / "optimizer.ckpt")
    ms.save_checkpoint(MGUPAdamW(parameters(arrays(((3, 4),)))), path)
    made = MGUPAdamW(parameters(arrays(((5, 4),))))
    before = to_numpy(made.parameters[0])
    with pytest.raises(RuntimeError, match=r"layer0\.weight"):
        ms.load_param_into_net(made, ms.load_checkpoint(path))
    assert to_numpy(made.parameters[0]).tobytes() == before.tobytes()


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_without_mindspore():
    done = run("import sys; sys.modules['mindspore'] = None; import mgup_mindspore")
    assert (
        "ImportError: mgup_mindspore needs MindSpore: pip install 'mgup[mindspore]'" in done.stderr
    )


def test_first_use_is_silent_and_safe():
    """NumPy 2 makes MindSpore's first operation print a banner, or fail."""
    done = run(
        "import os, mgup_mindspore, mindspore as ms, numpy as np, sys\n"
        "assert 'GLOG_v' not in os.environ\n"
        "p = ms.Parameter(ms.Tensor(np.ones(4, np.float32)), name='p')\n"
        "o = mgup_mindspore.MGUPSGD([p], 0.5, weight_decay=0.0)\n"
        "o((ms.Tensor(np.ones(4, np.float32)) * 2.0,))\n"
        "print(p.asnumpy().tolist(), file=sys.stderr)"
    )
    assert done.returncode == 0
    assert done.stderr == "[-1.0, -1.0, 0.5, 0.5]\n"


def test_parameters_without_names():
    """As nn.Adam takes them, each with the settings of its own group."""
    one, other = (Parameter(Tensor(np.ones((2, 2), np.float32))) for _ in range(2))
    optimizer = MGUPSGD([{"params": [one], "tau": 0.25}, {"params": [other], "tau": 0.75}], 1.0)
    optimizer(tuple(Tensor(np.arange(4, dtype=np.float32).reshape(2, 2)) for _ in range(2)))
    moved = [np.asarray(1.0 - p.asnumpy()) for p in (one, other)]
    assert (moved[0] != moved[1]).any()
