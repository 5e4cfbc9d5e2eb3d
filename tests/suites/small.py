"""Suites that run in moments, and backends that do not do what they should."""

import copy
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.backends import Run
from radialbench.kernels.backends.cpu import Cpu
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem
from radialbench.suites.plan import Case, plan
from radialbench.suites.read import parse_suite
from radialbench.suites.resources import Workbench
from radialbench.suites.schema import SuiteSpec
from tests.records.sample import ENVIRONMENT

DOCUMENT: dict[str, Any] = {
    "name": "small",
    "device": "cpu",
    "protocol": {"max_samples": 3},
    "cases": [
        {
            "masks": ["radial", "dense"],
            "grids": [{"frames": [2, 3], "height": 3, "width": 5}],
            "heads": 2,
            "head_dim": 8,
            "dtype": "float32",
            "backends": ["cpu"],
            "block_m": 16,
            "block_n": 16,
        }
    ],
}


def text_of(change: Callable[[dict[str, Any]], object] = lambda document: None) -> str:
    """Write the small suite, changed."""
    document = copy.deepcopy(DOCUMENT)
    change(document)
    # Copied through JSON, so that what stands in two places is written out twice.
    return yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False)


def suite(change: Callable[[dict[str, Any]], object] = lambda document: None) -> SuiteSpec:
    """Give the small suite, changed."""
    return parse_suite(text_of(change), "small.yaml")


def left_open(document: dict[str, Any]) -> None:
    """Take the block sizes out of a suite, so that its backends take the tuned ones."""
    for name in ("block_m", "block_n"):
        del document["cases"][0][name]


def matrix(**fields: object) -> SuiteSpec:
    """Give the small suite with other entries in its matrix."""
    return suite(lambda document: document["cases"][0].update(fields))


def cases(**fields: object) -> tuple[Case, ...]:
    """Plan the small suite with other entries in its matrix."""
    return plan(matrix(**fields))


def case(**fields: object) -> Case:
    """Give the one case of dense attention on two frames, with other entries in its matrix."""
    grid = {"frames": 2, "height": 3, "width": 5}
    (only,) = cases(**{"masks": ["dense"], "grids": [grid]} | fields)
    return only


def bench() -> Workbench:
    """Give what cases share, before any was tried."""
    return Workbench(ENVIRONMENT)


def written(folder: Path, text: str | None = None) -> Path:
    """Write a suite file."""
    path = folder / "small.yaml"
    path.write_text(text_of() if text is None else text, encoding="utf-8")
    return path


class Changed(Cpu):
    """The cpu backend, with its result changed."""

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        run = super().plan(problem, table, config)

        def changed(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            return self.change(*run(q, k, v))

        return changed

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Raising(Changed):
    """Fails while it runs."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("the kernel\nfell over")


class RaisingOurs(Changed):
    """Fails with one of our own errors."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        raise BackendError("q, k, v are odd")


class Interrupted(Changed):
    """Is interrupted where a lock is taken: the lock's own error hides the interrupt."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()


class OutOfMemory(Changed):
    """Asks for more memory than there is, as PyTorch's CPU allocator reports it."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        return torch.empty(1 << 60), lse


class OutOfPythonMemory(Changed):
    """Asks for more memory than there is, as Python reports it."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        raise MemoryError


class Nan(Changed):
    """Leaves a number undefined."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        out[..., 3, 0] = torch.nan
        return out, lse


class Wrong(Changed):
    """Is off by a little in the output."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        return out * 1.001, lse


class WrongLse(Changed):
    """Gives the lse in bits."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        return out, lse * 1.4427


class WrongShape(Changed):
    """Returns one head."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        return out[:, :1], lse


class NoPair(Changed):
    """Returns the output alone."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        return out  # type: ignore[return-value]


class Writing(Cpu):
    """Writes into a tensor that it was given, from some call on, past PyTorch's version counter."""

    place = 1
    first = 1

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        run, calls = super().plan(problem, table, config), count(1)

        def writing(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            result = run(q, k, v)
            if next(calls) >= self.first:
                (q, k, v)[self.place].numpy()[..., -1, :] += 1
            return result

        return writing


class WritingLater(Writing):
    """The same into v, from its third call on."""

    place = 2
    first = 3


class WritingOnce(Writing):
    """Writes into q at its second call alone, the first after it was checked."""

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        run, calls = Cpu.plan(self, problem, table, config), count(1)

        def writing(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            result = run(q, k, v)
            if next(calls) == 2:
                q.zero_()
            return result

        return writing


class Reshaping(Cpu):
    """Turns its own q around in place."""

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        run = super().plan(problem, table, config)

        def reshaping(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            result = run(q, k, v)
            q.transpose_(2, 3).transpose_(2, 3)
            return result

        return reshaping


class InaccurateLater(Changed):
    """Is right when it is checked, and off by a little from its second call on."""

    calls = 0

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return (out if self.calls == 1 else out * 1.001), lse


class WrongLater(Changed):
    """Is right when it is checked, and fails when it is timed."""

    calls = 0

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        if self.calls > 1:
            raise ValueError("only once")
        return out, lse


class Dying(Changed):
    """Takes its process with it, as an illegal access does."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return out, lse


class ExitingLater(Changed):
    """Is right when it is checked, and ends its process when it is timed."""

    calls = 0

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        if self.calls > 1:
            os._exit(3)
        return out, lse


class Hanging(Changed):
    """Says which process it is in, and never comes back."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        sys.stderr.write(f"hanging in {os.getpid()}\n")
        sys.stderr.flush()
        while True:
            time.sleep(3600)


class DeviceAssert(Changed):
    """Fails as a device assert does: no call on the GPU succeeds after it."""

    def change(self, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
        # For good, as this process is not to go on.
        torch.cuda.is_initialized = lambda: True
        torch.cuda.synchronize = self.fail  # type: ignore[assignment]
        self.fail()
        return out, lse

    def fail(self) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")


class Pid(Cpu):
    """Writes a line, and gives the process it is in as the reason not to run."""

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        sys.stdout.write("asked\n")
        return [str(os.getpid())]


class Unplanned(Cpu):
    """Refuses while planning."""

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        raise BackendError("needs blocks of 17")


class Broken(Cpu):
    """Fails while planning."""

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        raise ZeroDivisionError("division by zero")


class Unsupported(Cpu):
    """Has two reasons not to run."""

    def unsupported_reasons(self, problem: Problem, device: str) -> list[str]:
        return ["wants a moon", "wants a star"]
