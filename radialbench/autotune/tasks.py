"""tasks_of: what a suite has to tune."""

from collections.abc import Iterable

from radialbench.autotune.evaluator import Task
from radialbench.autotune.space import SPACES
from radialbench.errors import AutotuneError, unknown
from radialbench.records.problem import Problem
from radialbench.suites.plan import Case


def tasks_of(cases: Iterable[Case], device: str, backends: Iterable[str] = ()) -> list[Task]:
    """List the attention problems of cases, each once for every backend with something to tune.

    Args:
        cases: The cases; their configurations do not matter.
        device: `cuda` or `cpu`.
        backends: Backends to tune on every problem; those of the cases if empty.

    Raises:
        AutotuneError: There is nothing to tune, or a backend has nothing to tune.
    """
    named = [*backends]
    for name in named:
        if name not in SPACES:
            raise AutotuneError(f"nothing to tune: {unknown('backend', name, SPACES)}")
    found: dict[tuple[Problem, str], Task] = {}
    for case in cases:
        if case.measure != "attention":
            continue
        for name in named or [case.backend or ""]:
            if name in SPACES:
                key = (case.problem, name)
                found.setdefault(key, Task(case.mask, case.problem, name, device))
    if not found:
        raise AutotuneError(
            f"nothing to tune: no case computes attention on {' or '.join(sorted(SPACES))}; "
            "name a backend to tune it on the suite's problems"
        )
    return list(found.values())
