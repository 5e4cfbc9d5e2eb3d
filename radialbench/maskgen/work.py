"""Work of a video model: the exact operations of a call and of a whole video."""

from collections.abc import Sequence
from dataclasses import dataclass

from radialbench.errors import GridError
from radialbench.maskgen.grid import Model, TokenGrid
from radialbench.maskgen.table import BlockTable


@dataclass(frozen=True, slots=True)
class Schedule:
    """The calls of self-attention that stay dense.

    Attributes:
        steps: Denoising steps of a video.
        dense_steps: First steps in which all layers are dense.
        dense_layers: First layers that are dense in every step.
    """

    steps: int
    dense_steps: int = 0
    dense_layers: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.dense_steps <= self.steps or self.steps < 1 or self.dense_layers < 0:
            raise GridError(
                "a schedule has at least one step, no more dense steps than steps, and no fewer "
                f"than 0 dense layers, got {self}"
            )

    def sparse_layers(self, layers: int) -> int:
        """Return the sparse layers of all steps together."""
        return (self.steps - self.dense_steps) * max(layers - self.dense_layers, 0)


@dataclass(frozen=True, slots=True)
class CallWork:
    """Operations of one call of a transformer; a multiply-add is two.

    Norms, activations, rotary embeddings and softmax are not counted, nor are text encoders and the
    VAE.

    Attributes:
        linear: Operations of linear layers, and of the convolution of patches.
        other: Operations of attention besides self-attention.
        self_attention: Operations of dense self-attention: 4 · layers · heads · head_dim · queries
            · keys.
    """

    linear: int
    other: int
    self_attention: int

    @property
    def total(self) -> int:
        """All operations."""
        return self.linear + self.other + self.self_attention


def call_work(model: Model, grid: TokenGrid) -> CallWork:
    """Count the operations of one call on one video, with dense self-attention.

    Where frames are queries, the call is on those frames alone.

    Raises:
        GridError: The model's preset does not list its layers.
    """
    if model.steps is None or not model.linear:
        raise GridError(f"the preset of {model.name} does not say what its linear layers are")
    text = grid.text_tokens + model.cross_tokens
    joint = grid.q_len
    video = grid.video_tokens if grid.query_frames is None else joint
    tokens = {"video": video, "text": text, "joint": joint, "call": 1}
    linear = sum(
        2 * tokens[row.tokens] * row.inputs * row.outputs * row.count for row in model.linear
    )
    other = sum(
        4 * tokens[row.queries] * tokens[row.keys] * row.width * row.count
        for row in model.attention
    )
    dense = 4 * model.layers * model.heads * model.head_dim * joint * grid.seq_len
    return CallWork(linear, other, dense)


def attention_work(
    model: Model,
    grid: TokenGrid,
    schedule: Schedule,
    tables: Sequence[BlockTable],
    *,
    visited: bool,
) -> int:
    """Count the operations of self-attention in a video.

    Args:
        model: The model.
        grid: Its tokens.
        schedule: The dense calls.
        tables: The mask's table, or one for each of equally many heads.
        visited: Whether to count whole visited blocks instead of attending pairs.

    Returns:
        The sum over all steps, layers and calls of a step.
    """
    pairs = [
        table.nnz * table.block_m * table.block_n if visited else table.pairs for table in tables
    ]
    sparse = schedule.sparse_layers(model.layers)
    dense = schedule.steps * model.layers - sparse
    width, every = 4 * model.heads * model.head_dim, grid.q_len * grid.seq_len
    return model.calls * width * (dense * every + sparse * sum(pairs) // len(pairs))


def video_work(
    model: Model,
    grid: TokenGrid,
    schedule: Schedule,
    tables: Sequence[BlockTable] = (),
    *,
    visited: bool = False,
) -> int:
    """Count the operations of a video: all steps, and all calls of a step.

    Args:
        model: The model.
        grid: Its tokens.
        schedule: The dense calls.
        tables: As in `attention_work`; none for dense attention throughout.
        visited: As in `attention_work`.

    Raises:
        GridError: As `call_work`.
    """
    call = call_work(model, grid)
    calls = schedule.steps * model.calls
    if not tables:
        return calls * call.total
    attention = attention_work(model, grid, schedule, tables, visited=visited)
    return calls * (call.linear + call.other) + attention
