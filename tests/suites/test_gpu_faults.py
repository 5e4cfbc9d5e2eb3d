"""What breaks a GPU's context ends its own case, and no other, alone and sampled in turn."""

from pathlib import Path

import pytest

from radialbench.kernels.backends import BACKENDS
from radialbench.records.result import Status
from radialbench.suites.read import parse_suite
from radialbench.suites.run import run

FAULTS = {
    "assert": ("Assert", Status.CRASHED),
    "illegal": ("Illegal", Status.CRASHED),
    "illegal_later": ("IllegalLater", Status.CRASHED),
    "hang": ("Hang", Status.TIMEOUT),
    "hang_later": ("HangLater", Status.TIMEOUT),
    "too_much": ("TooMuch", Status.OOM),
}
SUITE = """
name: faults
device: cuda
protocol: {{max_samples: 20, max_seconds: 2, timeout_seconds: 15, interleave: {interleave}}}
cases:
  - masks: [dense]
    grids: [{{frames: 4, height: 30, width: 52}}]
    heads: 4
    head_dim: 128
    backends: [{backends}]
"""


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("interleave", "faults"),
    [
        ("false", tuple(FAULTS)),
        ("true", ("illegal_later",)),
        ("true", ("hang_later",)),
        ("true", ("assert", "too_much")),
    ],
)
def test_the_others_go_on(
    interleave: str, faults: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in faults:
        monkeypatch.setitem(BACKENDS, name, f"tests.suites.gpu_faults:{FAULTS[name][0]}")
    backends = ", ".join(("triton", *faults, "flash"))
    outcome = run(
        parse_suite(SUITE.format(interleave=interleave, backends=backends), "f"), tmp_path
    )
    found = {record.backend: record.status for record in outcome.records}
    wanted = {name: FAULTS[name][1] for name in faults}
    assert found == wanted | {"triton": Status.OK, "flash": Status.OK}
