"""The contract that every backend holds, as tests to inherit."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from radialbench.errors import BackendError
from radialbench.kernels.backends import load_backend
from radialbench.kernels.measure.accuracy import checksums, compare, expected, make_inputs
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import parse_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import FP8, KernelConfig, Problem

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
