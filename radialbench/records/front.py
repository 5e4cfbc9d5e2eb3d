"""FrontPoint: head plans of which none keeps more for less, as stored values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radialbench.errors import RecordError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records import codec
from radialbench.records.fidelity import InputsIdentity
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Environment
from radialbench.records.store import read_every, write_errors, write_whole

SCHEMA = 1
"""Version of the stored form."""

BLOCKS, TIME = "blocks", "time"
COSTS = (BLOCKS, TIME)
"""Executed blocks, or measured time."""

LOSSES = ("mass", "error")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which steps and layers of a model run under masks; the others are dense.

    Attributes:
        steps: Steps of sampling.
        layers: Layers of the model.
        dense_steps: First steps that are dense.
        dense_from_step: Step from which on steps are dense again; `steps` if none is.
        dense_layers: First layers that are dense.
    """

    steps: int = 1
    layers: int = 1
    dense_steps: int = 0
    dense_from_step: int = 1
    dense_layers: int = 0

    def __post_init__(self) -> None:
        codec.check_ints(self, "steps", "layers", at_least=1)
        codec.check_ints(self, "dense_steps", "dense_from_step", "dense_layers", at_least=0)
        if not self.dense_steps <= self.dense_from_step <= self.steps:
            raise RecordError("Schedule: steps under masks begin before they end")
        if self.dense_layers > self.layers:
            raise RecordError("Schedule: dense layers are layers of the model")

    @property
    def share(self) -> float:
        """Share of the steps and layers under masks."""
        sparse = (self.dense_from_step - self.dense_steps) * (self.layers - self.dense_layers)
        return sparse / (self.steps * self.layers)


@dataclass(frozen=True, slots=True)
class ChosenMask:
    """The mask of some heads.

    Attributes:
        heads: Their numbers in the model.
        layer: The captured layer whose neighbours have it; None for all layers.
        step: The captured step whose neighbours have it; None for all steps.
        mask: The mask.
    """

    heads: tuple[int, ...]
    layer: int | None
    step: int | None
    mask: MaskIdentity

    def __post_init__(self) -> None:
        codec.check_ints(self, "layer", "step", at_least=0)


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A mask for each head, and a schedule, that no other point beats in both cost and loss.

    Attributes:
        schema: Version of the stored form.
        number: Its number in the front, from 1 for the cheapest.
        inputs: The inputs.
        grid: Layout of the tokens.
        config: The blocks of the tables.
        rows: Query rows of each head; half of them chose the masks.
        cost_kind: `blocks` or `time`.
        cost: Share of what dense attention costs, over all steps and layers.
        dense_ms: Time of dense attention in one layer, where times are the cost.
        masked_ms: Time of a layer under the masks, measured in one call, where times are the cost
            and all layers and steps have the same masks.
        loss_kind: `mass` or `error`.
        loss: Attention mass that is not kept, or relative error of the output: mean over heads,
            layers and steps, on rows that the masks were not chosen by; 0 where attention is dense.
        worst_loss: The same of the head, layer and step that loses most.
        masks: The masks.
        schedule: The steps and layers under them.
        trials: Masks that were tried.
        environment: Where it was computed.
        created: When, in ISO 8601 with its zone.
    """

    schema: int
    number: int
    inputs: InputsIdentity
    grid: TokenGrid
    config: KernelConfig
    rows: int
    cost_kind: str
    cost: float
    dense_ms: float | None
    masked_ms: float | None
    loss_kind: str
    loss: float
    worst_loss: float
    masks: tuple[ChosenMask, ...]
    schedule: Schedule
    trials: int
    environment: Environment
    created: str

    def __post_init__(self) -> None:
        codec.check_ints(self, "schema", "number", "rows", at_least=1)
        codec.check_choice(self, "cost_kind", COSTS)
        codec.check_choice(self, "loss_kind", LOSSES)
        codec.check_numbers(self, "cost", "loss", "worst_loss", "dense_ms", "masked_ms")
        codec.check_ints(self, "trials", at_least=0)
        codec.check_time(self, "created")


def read_front(path: Path) -> tuple[FrontPoint, ...]:
    """Read a file of a front.

    Raises:
        RecordError: The file cannot be read, or a line is no such record of this version; the
            message names the line.
    """
    hint = "Search again, or remove the line"
    return read_every(path, FrontPoint, SCHEMA, what="a point", hint=hint)


def write_front(path: Path, points: Sequence[FrontPoint]) -> None:
    """Write a file of a front, in place of the former one.

    Raises:
        RecordError: The folder cannot be used.
        WriteError: The disk is full; the former file is kept.
    """
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, points)
