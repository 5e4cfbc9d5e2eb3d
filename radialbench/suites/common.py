"""What cases of one shape share: q, k and v in each token order, and what the definition gives."""

from typing import Any

from radialbench.kernels.accuracy import Expected, expected
from radialbench.kernels.clocks import clock_of
from radialbench.kernels.inputs import Inputs, make_inputs, permutation, permute
from radialbench.kernels.timing import measure
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import Problem

PERMUTE_SECONDS = 0.2
ROWS = {"cpu": 1024, "cuda": 4096}
"""Query rows of a case that are compared with the definition."""


class Common:
    """Keeps what was made for the last shape; another shape takes its place."""

    def __init__(self) -> None:
        self._shape: object = None
        self._inputs: dict[TokenOrder, tuple[Inputs, float]] = {}
        self._expected: dict[Any, Expected] = {}

    def inputs(self, problem: Problem, table: BlockTable, device: str) -> tuple[Inputs, float]:
        """Give q, k and v in a table's order, and the milliseconds to get there and back."""
        shape = (problem.batch, problem.heads, problem.seq_len, problem.head_dim, problem.dtype)
        if self._shape != (*shape, device):
            self._inputs.clear()
            self._expected.clear()
            self._shape = (*shape, device)
        if not self._inputs:
            self._inputs[TokenOrder()] = make_inputs(problem, device=device), 0.0
        if table.order not in self._inputs:
            raster, _ = self._inputs[TokenOrder()]
            self._inputs[table.order] = _ordered(raster, table, device)
        return self._inputs[table.order]

    def expected(self, problem: Problem, table: BlockTable, device: str) -> Expected:
        """Give what the definition makes of those inputs, whatever the blocks.

        The rows it is known for were chosen by the blocks of the table that asked first.
        """
        key = (problem.mask_fingerprint, problem.scale, table.order)
        if key not in self._expected:
            inputs, _ = self.inputs(problem, table, device)
            self._expected[key] = expected(
                inputs, table=table, sm_scale=problem.scale, rows=ROWS[device]
            )
        return self._expected[key]


def _ordered(raster: Inputs, table: BlockTable, device: str) -> tuple[Inputs, float]:
    """Bring q, k, v into the table's order, timing that and the output's way back."""
    there, back = permutation(table, device=device)

    def order() -> Inputs:
        q, k, v = raster
        return permute(q, there), permute(k, there), permute(v, there)

    ordered = order()
    timing = measure(
        lambda: (order(), permute(ordered[0], back)),
        min_samples=1,
        max_seconds=PERMUTE_SECONDS,
        warmups=1,
        clock=clock_of(device),
    )
    return ordered, timing.median_ms
