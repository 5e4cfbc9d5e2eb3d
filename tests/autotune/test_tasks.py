"""What a suite has to tune: its attention problems, each once for a backend with a space."""

import pytest

from radialbench.autotune.evaluator import Task
from radialbench.autotune.tasks import tasks_of
from radialbench.errors import AutotuneError
from tests.suites import small

BACKENDS = ["cpu", {"name": "cpu", "block_m": 32}, "sdpa", "hopper"]


def told(tasks: list[Task]) -> list[tuple[str, int, str, str]]:
    return [(t.mask.label, t.grid.frames, t.backend, t.device) for t in tasks]


def test_each_problem_is_tuned_once_for_a_backend() -> None:
    cases = small.cases(masks=["radial", "dense"], backends=BACKENDS)
    assert told(tasks_of(cases, "cpu")) == [
        (mask, frames, backend, "cpu")
        for frames in (2, 3)
        for mask in ("radial", "dense")
        for backend in ("cpu", "hopper")
    ]
    (task,) = tasks_of([cases[0]], "cpu")
    assert (task.mask, task.grid, task.problem) == (cases[0].mask, cases[0].grid, cases[0].problem)


def test_backends_can_be_named_that_the_suite_does_not_have() -> None:
    cases = small.cases(masks=["radial"], backends=["sdpa"])
    assert told(tasks_of(cases, "cpu", ["cpu", "triton"])) == [
        ("radial", frames, backend, "cpu") for frames in (2, 3) for backend in ("cpu", "triton")
    ]
    with pytest.raises(AutotuneError, match="nothing to tune: unknown backend 'cup'; did you mean"):
        tasks_of(cases, "cpu", ["cup"])


def test_a_suite_without_anything_to_tune_says_so() -> None:
    message = "nothing to tune: no case computes attention on cpu or hopper or triton"
    with pytest.raises(AutotuneError, match=message):
        tasks_of(small.cases(backends=["sdpa"]), "cpu")
    compiling = small.cases(measure="compile", backends=None)
    with pytest.raises(AutotuneError, match=message):
        tasks_of(compiling, "cpu", ["cpu"])
