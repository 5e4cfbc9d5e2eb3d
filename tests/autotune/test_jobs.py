"""What a suite has to tune: its attention problems, each once for a backend with a space."""

import pytest

from radialbench.autotune.jobs import tunable_cases
from radialbench.errors import AutotuneError
from radialbench.suites.plan import Case
from tests.suites import small

BACKENDS = ["cpu", {"name": "cpu", "block_m": 32}, "sdpa", "hopper"]


def told(cases: list[Case]) -> list[tuple[str, int, str | None, str]]:
    return [(t.mask.label, t.grid.frames, t.backend, t.device) for t in cases]


def test_each_problem_is_tuned_once_for_a_backend() -> None:
    cases = small.cases(masks=["radial", "dense"], backends=BACKENDS)
    assert told(tunable_cases(cases, "cpu")) == [
        (mask, frames, backend, "cpu")
        for frames in (2, 3)
        for mask in ("radial", "dense")
        for backend in ("cpu", "hopper")
    ]
    assert tunable_cases([cases[0]], "cpu") == [cases[0]]


def test_backends_can_be_named_that_the_suite_does_not_have() -> None:
    cases = small.cases(masks=["radial"], backends=["sdpa"])
    assert told(tunable_cases(cases, "cpu", ["cpu", "triton"])) == [
        ("radial", frames, backend, "cpu") for frames in (2, 3) for backend in ("cpu", "triton")
    ]
    with pytest.raises(AutotuneError, match="nothing to tune: unknown backend 'cup'; did you mean"):
        tunable_cases(cases, "cpu", ["cup"])


def test_a_suite_without_anything_to_tune_says_so() -> None:
    message = "nothing to tune: no case computes attention on cpu or hopper or triton"
    with pytest.raises(AutotuneError, match=message):
        tunable_cases(small.cases(backends=["sdpa"]), "cpu")
    compiling = small.cases(measure="compile", backends=None)
    with pytest.raises(AutotuneError, match=message):
        tunable_cases(compiling, "cpu", ["cpu"])
