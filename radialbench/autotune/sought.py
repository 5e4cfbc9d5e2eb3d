"""sought: the problems of records, found among those of suites, so that they can be run again."""

from collections.abc import Collection, Iterable

from radialbench.autotune.evaluator import Task
from radialbench.autotune.run import Job, jobs_of
from radialbench.autotune.space import SPACES
from radialbench.autotune.tasks import tasks_of
from radialbench.errors import AutotuneError
from radialbench.kernels.tuned import processor
from radialbench.records.tuning import TuningKey, key_of
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite


def sought(keys: Collection[TuningKey], suites: Iterable[str], device: str) -> list[Job]:
    """Find the problems of keys, which tell a mask by its fingerprint alone.

    Args:
        keys: The keys; those of other devices are not found.
        suites: Names or files of the suites to look in.
        device: `cuda` or `cpu`.

    Returns:
        A job for each key that was found, in the order of the suites.

    Raises:
        SuiteError: A suite cannot be read.
    """
    backends = sorted({key.backend for key in keys} & SPACES.keys())
    here = processor(device)
    found: dict[TuningKey, Task] = {}
    for suite in suites:
        cases = plan(load_suite(suite))
        try:
            tasks = tasks_of(cases, device, backends)
        except AutotuneError:
            # It has no attention; another may have.
            continue
        for task in tasks:
            if (key := key_of(task.problem, task.backend, here)) in keys:
                found.setdefault(key, task)
    return jobs_of(found.values())
