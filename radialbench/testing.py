"""Tests for backends and kernels of others: the contract that ours hold, and times side by side.

from radialbench.testing import BackendContract

class TestMyKernel(BackendContract):
backend = "my_package.kernel:MyKernel"
device, dtype = "cuda", "bfloat16"
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from radialbench.errors import BackendError
from radialbench.kernels.backends import load_backend
from radialbench.kernels.measure.accuracy import checksums, compare, expected, make_inputs
from radialbench.kernels.measure.clocks import clock_of
from radialbench.kernels.measure.timing import measure_together
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import parse_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.gate import Gate, read_gate, setting_of
from radialbench.records.measurement import Measurement
from radialbench.records.problem import FP8, KernelConfig, Problem
from radialbench.records.statistics import Estimate, paired_ratio

GRIDS = (TokenGrid(3, 5, 7), TokenGrid(2, 8, 8), TokenGrid(2, 3, 5, text_tokens=9))
"""Ragged, whole in blocks of 16 to 128, and with text."""

MASKS: dict[str, Mapping[str, Any]] = {
    "dense": {"name": "dense", "mask": "true"},
    "near": {"name": "near", "mask": "dt <= 1 or kt == 0"},
    "scattered": {"name": "scattered", "mask": "(qi * 7 + ki * 3) % 5 == 0 or di == 0"},
    "empty_rows": {"name": "empty_rows", "mask": "qx % 3 != 0 and dt == 0", "empty_rows": "keep"},
}
"""Of whole blocks, of a few partial ones, of partial ones only, and with rows without a key."""


class BackendContract:
    """What a backend promises: a reason why it cannot run, or the definition's result.

    Inherit it in a class whose name begins with Test. A problem that the backend refuses in words
    is skipped, as is a mask, unless it is `exact`.

    Attributes:
        backend: Its name, or `module:Class`.
        device: Where it runs, `cpu` or `cuda`.
        dtype: Type of q, k and v.
        head_dim: Head dimension.
        blocks: Query and key tokens of a block.
        exact: Whether it computes every mask.
    """

    backend: str
    device = "cpu"
    dtype = "float32"
    head_dim = 32
    blocks = (16, 16)
    exact = True

    def problem(self, table: BlockTable, **fields: Any) -> Problem:
        """Return a problem that fits a table."""
        plain: dict[str, Any] = {"batch": 1, "heads": 2, "head_dim": self.head_dim}
        plain |= {"dtype": self.dtype, "mask_fingerprint": "any", "grid": table.grid}
        return Problem(**(plain | fields))

    def table(self, mask: str, grid: TokenGrid) -> BlockTable:
        """Return a mask's table in the backend's blocks."""
        return compile_mask(parse_mask(MASKS[mask]), grid, *self.blocks)

    def run(self, table: BlockTable, problem: Problem, inputs: Any) -> Any:
        """Plan and call the backend on memory filled with nan; skip what it refuses in words."""
        loaded = load_backend(self.backend)
        if reasons := loaded.unsupported_reasons(problem, self.device):
            pytest.skip("; ".join(reasons))
        try:
            planned = loaded.plan(problem, table, KernelConfig(*self.blocks))
        except BackendError as error:
            if self.exact:
                raise
            pytest.skip(str(error))
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            return planned(*inputs)
        finally:
            torch.use_deterministic_algorithms(before)

    def check(self, table: BlockTable, **fields: Any) -> None:
        """Compare the backend with the definition of attention in float64."""
        problem = self.problem(table, **fields)
        inputs = make_inputs(problem, device=self.device)
        sums = checksums(inputs)
        out, lse = self.run(table, problem, inputs)
        assert checksums(inputs) == sums, "q, k or v was written to"
        q = inputs[0]
        assert (out.shape, out.dtype, out.device) == (q.shape, q.dtype, q.device), "out is like q"
        assert (lse.shape, lse.dtype) == (q.shape[:3], torch.float32), "lse is float32 by row"
        fp8 = self.backend in FP8
        wanted = expected(inputs, table=table, sm_scale=problem.scale, fp8=fp8)
        found = compare((out, lse), wanted)
        assert found.max_abs_error <= found.tolerance, "out differs from the definition"
        most = found.tolerance if found.lse_tolerance is None else found.lse_tolerance
        assert found.max_lse_error <= most, "lse differs from the definition"

    def test_reasons_are_sentences(self) -> None:
        """Returns strings for what it cannot run, and says what it needs."""
        loaded, problem = load_backend(self.backend), self.problem(self.table("dense", GRIDS[1]))
        for device in ("cpu", "cuda"):
            reasons = loaded.unsupported_reasons(problem, device)
            assert all(isinstance(one, str) and one.strip() for one in reasons)
        assert "\n" not in loaded.needs()

    @pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.label)
    @pytest.mark.parametrize("mask", MASKS)
    def test_masks_and_lengths(self, mask: str, grid: TokenGrid) -> None:
        """Computes whole and partial blocks, ragged ends, text, and rows without a key."""
        self.check(self.table(mask, grid))

    @pytest.mark.parametrize(
        "fields",
        [{"batch": 2}, {"heads": 4, "kv_heads": 2}, {"sm_scale": 0.3}, {"heads": 1}],
        ids=lambda fields: "-".join(map(str, fields)),
    )
    def test_shapes(self, fields: dict[str, Any]) -> None:
        """Computes several sequences, grouped heads, and another scale."""
        self.check(self.table("near", GRIDS[0]), **fields)

    def test_calls_do_not_depend_on_each_other(self) -> None:
        """Computes a second call of other numbers as the first."""
        table = self.table("near", GRIDS[0])
        problem = self.problem(table)
        first, other = (make_inputs(problem, seed=seed, device=self.device) for seed in (0, 1))
        alone = self.run(table, problem, other)
        self.run(table, problem, first)
        again = self.run(table, problem, other)
        for one, two in zip(alone, again, strict=True):
            torch.testing.assert_close(one, two)


@dataclass(frozen=True, slots=True)
class Times:
    """Two calls, sampled in turn.

    Attributes:
        own: Samples of the call.
        other: Samples of what it is compared with.
        ratio: How many times as long the call takes, with its 95% interval.
        verdict: `pass`, `regressed` or `inconclusive`.
        text: The verdict in a sentence.
    """

    own: Measurement
    other: Measurement
    ratio: Estimate
    verdict: str
    text: str


def compare_times(
    call: Callable[[], object],
    against: Callable[[], object],
    *,
    gate: str = "5%",
    device: str = "cpu",
    **sampling: Any,
) -> Times:
    """Time two calls in turn, as suites do, and say whether the first is slower by a gate.

    It has `regressed` if the whole interval of the ratio is beyond the gate, and passes if the
    whole interval is within it.

    Args:
        call: What is judged; on a GPU it launches and does not wait.
        against: What it is compared with, such as the fastest kernel so far.
        gate: The least change that counts, as `5%`, `1.5x`, `2ms` or `5%, 20us`.
        device: `cpu` or `cuda`.
        **sampling: As those of `radialbench.kernels.measure.timing.measure_together`.

    Raises:
        RecordError: The gate cannot be read.
    """
    _, size = read_gate(setting_of("latency", gate))
    own, other = measure_together([call, against], clock=clock_of(device), **sampling)
    ratio = paired_ratio(own.samples_ms, other.samples_ms)
    size = size or Gate(math.inf)
    most = 1 + max(size.share, size.least / other.median_ms)
    ends = ratio.ends or (0.0, math.inf)
    verdict = "pass" if ends[1] <= most else "regressed" if ends[0] > most else "inconclusive"
    return Times(
        own,
        other,
        ratio,
        verdict,
        f"{own.median_ms:.4g} ms against {other.median_ms:.4g}: {ratio.value:.3f} times "
        f"(95% {ends[0]:.3f} to {ends[1]:.3f}), the gate is {gate}",
    )
