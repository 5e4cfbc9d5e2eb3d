"""Devices: the GPUs of this machine that share a run, and how equal they are."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from radialbench.errors import SuiteError
from radialbench.kernels.measure.environment import gpus
from radialbench.suites.plan import Case, batches
from radialbench.suites.worker import Worker

WAIT_SECONDS = 0.2
"""How often the main thread can be interrupted while others work."""

Unit = list[list[Case]]
"""Batches that are to run on one GPU, one after the other."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One case, measured on every GPU before the run.

    Attributes:
        case: Its id.
        ms: Its time by the number of the GPU.
    """

    case: str
    ms: dict[str, float]

    @property
    def share(self) -> float:
        """By how much the slowest is slower than the fastest."""
        return max(self.ms.values()) / min(self.ms.values()) - 1


def find_devices(asked: str) -> tuple[str, ...]:
    """Return the GPUs of `all`, or of numbers such as `0,2`, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        SuiteError: There are none, or a number is none or is named twice.
    """
    stated = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(gpus()[0])
    there = tuple(map(str, range(count)))
    if stated is not None:
        there = tuple(filter(None, stated.split(",")))
    if not there:
        raise SuiteError("--devices needs GPUs, and there is none; without it the CPU is used")
    if asked == "all":
        return there
    numbers = asked.split(",")
    known = {str(place): name for place, name in enumerate(there)}
    if len(set(numbers)) < len(numbers) or not known.keys() >= set(numbers):
        raise SuiteError(
            f"--devices is all, or numbers with commas between them, each once, from 0 to "
            f"{len(there) - 1}; got {asked[:40]!r}"
        )
    return tuple(known[number] for number in numbers)


def environment_of(device: str) -> dict[str, str]:
    """Return the environment of a process that sees one GPU, numbered as nvidia-smi does."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": device}


def check_equal(workers: Sequence[Worker]) -> None:
    """Refuse GPUs of different models, on which nothing could be compared.

    Raises:
        SuiteError: They differ.
    """
    models = dict.fromkeys(worker.environment.device for worker in workers)
    if len(models) > 1:
        raise SuiteError(
            f"a run has GPUs of one model, got {', '.join(models)}; choose with --devices 0,1"
        )


def units(cases: Iterable[Case]) -> list[Unit]:
    """Split cases into what stays on one GPU: those of a group, the heaviest first."""
    found: dict[str, Unit] = {}
    for batch in batches(cases):
        found.setdefault(batch[0].group, []).append(batch)
    return sorted(found.values(), key=lambda unit: -sum(c.work for batch in unit for c in batch))


def measure_spread(workers: dict[str, Worker], cases: Sequence[Case]) -> Spread | None:
    """Measure the smallest case on every GPU at the same time; None if one does not end well."""
    case = min(cases, key=lambda case: (case.measure != "attention", case.work))
    ms: dict[str, float] = {}

    def measure(name: str) -> None:
        (record,) = workers[name].attempt([case], lambda case: None)
        if record.timing is not None:
            ms[name] = median(record.timing.steady_ms)

    run_beside([lambda name=name: measure(name) for name in workers])  # type: ignore[misc]
    ordered = {name: ms[name] for name in workers if name in ms}
    return Spread(case.id, ordered) if len(ordered) == len(workers) else None


def run_beside(functions: Sequence[Callable[[], None]]) -> None:
    """Run functions in threads until all have ended; raise the first error.

    An interruption does not wait for them.
    """
    errors: list[BaseException] = []

    def body(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(one,), daemon=True) for one in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(WAIT_SECONDS)
    if errors:
        raise errors[0]
