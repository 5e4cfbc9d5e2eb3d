"""Backends that break the GPU they run on, in the ways kernels do."""

from typing import ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from radialbench.kernels.backends import Run
from radialbench.kernels.backends.triton import Triton
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem


@triton.jit
def _store_far_away(pointer, distance):  # type: ignore[no-untyped-def]
    tl.store(pointer + distance, 1.0)


class Faulty(Triton):
    """Computes, and then does something that it should not."""

    calls_before: ClassVar[int] = 0
    """Calls that go well: some faults show while a case is sampled, after it was found right."""

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        run, made = super().plan(problem, table, config), 0

        def call(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal made
            made += 1
            result = run(q, k, v)
            if made > self.calls_before:
                self.break_it(q)
            return result

        return call

    def break_it(self, q: Tensor) -> None:
        raise NotImplementedError


class Assert(Faulty):
    """Fails an assertion on the device."""

    def break_it(self, q: Tensor) -> None:
        torch.zeros(1, device="cuda")[torch.full((1,), 5, device="cuda")]


class Illegal(Faulty):
    """Writes where no memory is."""

    def break_it(self, q: Tensor) -> None:
        _store_far_away[(1,)](q.view(torch.float16), 1 << 40)


class IllegalLater(Illegal):
    """The same, when it is sampled."""

    calls_before = 6


class Hang(Faulty):
    """Never ends."""

    def break_it(self, q: Tensor) -> None:
        torch.cuda._sleep(1 << 60)


class HangLater(Hang):
    """The same, when it is sampled."""

    calls_before = 6


class TooMuch(Faulty):
    """Asks for more memory than there is."""

    def break_it(self, q: Tensor) -> None:
        torch.empty(1 << 42, dtype=torch.uint8, device="cuda")
