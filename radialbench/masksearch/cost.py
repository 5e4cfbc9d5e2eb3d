"""What a mask costs beside dense attention: executed blocks, or measured time on a GPU."""

from typing import Any, Protocol

from radialbench.errors import InputsError
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.kernels.measure.clocks import clock_of
from radialbench.kernels.measure.timing import measure_together
from radialbench.kernels.op import block_sparse_attention
from radialbench.kernels.reorder import reorder
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig

SAMPLING: Any = {"target": 0.01, "min_samples": 5, "max_samples": 50, "max_seconds": 0.5}


class Cost(Protocol):
    """Cost of masks in one unit; `dense_ms` is the time of dense attention if it is time."""

    dense_ms: float | None

    def of(self, table: AnyTable) -> tuple[float, float | None]:
        """Return the share of what dense attention costs, and the milliseconds if measured."""
        ...


class ExecutedBlocks:
    """Blocks that a kernel visits.

    Args:
        grid: Layout of the tokens.
        config: Blocks of the tables.
    """

    dense_ms: float | None = None

    def __init__(self, grid: TokenGrid, config: KernelConfig) -> None:
        self._dense = _dense(grid, config)

    def of(self, table: AnyTable) -> tuple[float, float | None]:
        """Return the share of the blocks of dense attention."""
        return table.block_density / self._dense.block_density, None


class MeasuredTime:
    """Time of our kernel, tuned where it was tuned, with the reordering of tokens if there is one.

    A mask is timed on all heads of the inputs. In a plan each head is taken to cost its share.

    Args:
        inputs: Inputs of a layer, on a GPU.
        config: Blocks of the tables.

    Raises:
        InputsError: The inputs have some queries only.
    """

    def __init__(self, inputs: AttentionInputs, config: KernelConfig) -> None:
        if inputs.rows is not None:
            raise InputsError(
                "times are measured on all queries, and the inputs have some only: take --cost "
                "blocks, or capture them whole"
            )
        self._inputs = inputs
        self.dense_ms: float | None = self.measure(_dense(inputs.grid, config))

    def of(self, table: AnyTable) -> tuple[float, float | None]:
        """Return the share of the time of dense attention, and the milliseconds."""
        assert self.dense_ms
        ms = self.measure(table)
        return ms / self.dense_ms, ms

    def measure(self, table: AnyTable) -> float:
        """Return the median milliseconds of a call.

        Raises:
            BackendError: Our kernels cannot run it here.
        """
        q, k, v = self._inputs.q, self._inputs.k, self._inputs.v
        moves = reorder(table, q.shape[1], k.shape[1], q.device)
        scale = self._inputs.scale

        def run() -> object:
            if moves is None:
                return block_sparse_attention(q, k, v, table, sm_scale=scale)
            out = block_sparse_attention(*moves.inputs(q, k, v), table, sm_scale=scale)
            return moves.output(out)

        clock = clock_of(q.device.type)
        (timing,) = measure_together([run], clock=clock, **SAMPLING)
        return timing.median_ms


def _dense(grid: TokenGrid, config: KernelConfig) -> BlockTable:
    return compile_mask(load_mask("dense"), grid, config.block_m, config.block_n)
