"""Fidelity: what a mask keeps of the attention of given inputs, and the error that it makes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

from radialbench.errors import RecordError
from radialbench.records import codec
from radialbench.records.statistics import MIN_SAMPLES, Estimate, bootstrap_mean

DEFINITION = "float64 definition"


@dataclass(frozen=True, slots=True)
class InputsIdentity:
    """Which q, k and v were looked at.

    Attributes:
        source: What made them, such as the model's name.
        kind: `captured` from a model, or `generated`.
        digest: Hash of their file or of what generates them.
    """

    source: str
    kind: str
    digest: str

    def __post_init__(self) -> None:
        codec.check_text(self, "source", "digest")
        codec.check_choice(self, "kind", ("captured", "generated"))

    @property
    def word(self) -> str:
        """The source in a case's id: `on-wan2.1-1.3b`."""
        return "on-" + re.sub(r"[^A-Za-z0-9_.]+", "-", self.source).strip("-")[:40]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a choice of pairs keeps of a head's attention, over some rows.

    Attributes:
        mass: Share of the attention mass that falls on the chosen keys, mean over the rows.
        error: ‖out − dense‖ / ‖dense‖ over all rows together.
    """

    mass: float
    error: float

    def __post_init__(self) -> None:
        codec.check_share(self, "mass")
        codec.check_numbers(self, "error")


@dataclass(frozen=True, slots=True)
class HeadFidelity:
    """What a mask keeps in one head, beside what other choices of as many blocks keep.

    Attributes:
        head: The head's number in the model.
        layer: The model's layer.
        step: The step of sampling.
        sequence: The sequence of the batch.
        kept: Of the rows that were measured.
        cosine: Cosine of the output and that of dense attention, over all rows together.
        worst_mass: The least mass that a row keeps.
        worst_error: The greatest relative error of a row.
        below: Share of rows that keep less than `Fidelity.bound`.
        sampled: Of the sampled rows, where the yardsticks are measured too.
        best: The blocks of the greatest mass on the sampled rows.
        window: The blocks nearest to the query's own in the sequence.
        random: Blocks chosen at random.
    """

    head: int
    layer: int | None
    step: int | None
    sequence: int
    kept: Kept
    cosine: float
    worst_mass: float
    worst_error: float
    below: float
    sampled: Kept
    best: Kept
    window: Kept
    random: Kept

    def __post_init__(self) -> None:
        codec.check_ints(self, "head", "layer", "step", "sequence", at_least=0)
        codec.check_share(self, "worst_mass", "below")
        codec.check_numbers(self, "worst_error")
        if not -1.001 <= self.cosine <= 1.001:
            raise RecordError(f"HeadFidelity.cosine must be within -1 and 1, got {self.cosine!r}")


LEAST_GAIN = 0.01
"""Attention mass by which the best blocks must exceed random ones for a place between them."""

YARDSTICKS = ("best", "window", "random")
"""Choices of as many blocks as a mask visits, which it is compared with."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What a mask keeps of some inputs, head by head.

    Attributes:
        inputs: The inputs.
        rows: Rows of each head whose mass and error were measured.
        sampled_rows: Rows of each head on which it is compared with yardsticks.
        bound: Mass below which a row counts in `HeadFidelity.below`.
        method: `float64 definition`, or the backend that computed it.
        kernel_error: The backend's own error: the greatest relative error, of any head, of its
            sparse output on the sampled rows; None for the definition.
        heads: Each head of each sequence, layer and step.
    """

    inputs: InputsIdentity
    rows: int
    sampled_rows: int
    bound: float
    method: str
    kernel_error: float | None
    heads: tuple[HeadFidelity, ...]

    def __post_init__(self) -> None:
        codec.check_ints(self, "rows", "sampled_rows", at_least=1)
        codec.check_share(self, "bound")
        codec.check_text(self, "method")
        codec.check_numbers(self, "kernel_error")
        if not self.heads:
            raise RecordError("Fidelity.heads must not be empty")

    @property
    def mass_kept(self) -> Estimate:
        """Mean share of attention mass kept, over heads, layers and steps."""
        return bootstrap_mean(self._units([one.kept.mass for one in self.heads]), (0.0, 1.0))

    @property
    def output_error(self) -> Estimate:
        """Mean relative error of the output."""
        return bootstrap_mean(self._units([one.kept.error for one in self.heads]), (0.0, inf))

    @property
    def mass_p10(self) -> float:
        """Mass that a tenth of the heads, of all layers and steps, keeps less than."""
        return _quantile([one.kept.mass for one in self.heads], 0.1)

    @property
    def error_p90(self) -> float:
        """Error that a tenth of the heads, of all layers and steps, exceeds."""
        return _quantile([one.kept.error for one in self.heads], 0.9)

    @property
    def place(self) -> float | None:
        """Where the mask stands between chance (0) and the best blocks (1), by mass kept.

        None where the best are no better than chance, as for masks that visit nearly all blocks.
        """
        best = fmean(one.best.mass for one in self.heads)
        chance = fmean(one.random.mass for one in self.heads)
        if best - chance < LEAST_GAIN:
            return None
        return (fmean(one.sampled.mass for one in self.heads) - chance) / (best - chance)

    def _units(self, values: Sequence[float]) -> list[float]:
        """Return means of heads' values that differ independently of each other.

        Those of layers if there are enough of them for an interval, as heads of a layer are alike;
        else those of heads, over steps and sequences.
        """
        layers = {one.layer for one in self.heads}
        by_layer = len(layers) >= MIN_SAMPLES
        units: dict[tuple[int | None, int | None], list[float]] = {}
        for one, value in zip(self.heads, values, strict=True):
            units.setdefault((one.layer, None if by_layer else one.head), []).append(value)
        return [fmean(unit) for unit in units.values()]

    def yardstick(self, name: str) -> Kept:
        """Return the mean mass and error of a yardstick, over all heads."""
        kept: Sequence[Kept] = [getattr(one, name) for one in self.heads]
        return Kept(fmean(one.mass for one in kept), fmean(one.error for one in kept))


def _quantile(values: Sequence[float], share: float) -> float:
    """Return what a share of values is at most, between the nearest two if need be."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
