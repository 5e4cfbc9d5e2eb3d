"""Decay of attention: by which law its mass falls with distance, as stored values."""

from dataclasses import dataclass

from radialbench.errors import RecordError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records import codec
from radialbench.records.fidelity import InputsIdentity
from radialbench.records.statistics import Estimate

MOST_NOISE = 1.0
"""Standard deviation of the noise of logits up to which intervals of rates hold the truth."""

MISFIT = 0.05
"""Share of the mass that a law may put at wrong distances and still fit."""

SPATIAL, TEMPORAL, OTHER = "spatial", "temporal", "other"


@dataclass(frozen=True, slots=True)
class Fit:
    """A law of decay fitted to the mass of some rows by maximum likelihood.

    `gain`, `behind` and the misplaced mass are of rows that the law was not fitted to.

    Attributes:
        form: `exponential`, `power` or `stretched`.
        rate: As `Law.rate`; its interval is a jackknife of runs of rows.
        exponent: That of a stretched exponential; None for other forms.
        gain: Log-likelihood over that of no decay, in nats a row.
        behind: By how much the best form's is greater, a row, in pairs of the same rows; 0 for it.
        misplaced: Share of the mass, on average over rows, that the law puts at wrong distances.
        misplaced_by_row: That of each row by itself, mean over rows.
    """

    form: str
    rate: Estimate
    exponent: Estimate | None
    gain: float
    behind: Estimate
    misplaced: float
    misplaced_by_row: float

    def __post_init__(self) -> None:
        codec.check_share(self, "misplaced", "misplaced_by_row")


@dataclass(frozen=True, slots=True)
class AxisDecay:
    """Decay with one distance, in time or in space.

    Attributes:
        fits: A fit of each form.
        mass: Mean share of the mass at each distance.
        pairs: Mean number of keys at each distance.
    """

    fits: tuple[Fit, ...]
    mass: tuple[float, ...]
    pairs: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.fits or len(self.mass) != len(self.pairs):
            raise RecordError("AxisDecay has fits, and as many numbers of pairs as of mass")

    @property
    def best(self) -> Fit:
        """The best form: of those that are not surely worse than another, with the fewest numbers.

        Of several of these, the one that gains most on other rows.
        """
        candidates = [one for one in self.fits if one.behind.low is None or one.behind.low <= 0]
        return max(candidates, key=lambda one: (one.exponent is None, one.gain))

    @property
    def fits_well(self) -> bool:
        """Whether the best form puts at most `MISFIT` of the mass at wrong distances."""
        return self.best.misplaced <= MISFIT


@dataclass(frozen=True, slots=True)
class HeadDecay:
    """How the attention of a head decays.

    Attributes:
        head: The head's number in the model.
        layer: The model's layer.
        step: The step of sampling.
        sequence: The sequence of the batch.
        time: Decay with the distance in frames.
        space: Decay with the distance in a frame.
        sink: Share of the mass on sink frames, which the fits leave out.
        text: Share of the mass on what is no video.
        kind: `spatial` or `temporal`, by which of Sparse VideoGen's two masks errs less, or `other`
            where both lose too much; None if it was not looked at.
        spatial_error: Relative error of the output with the spatial mask.
        temporal_error: With the temporal one.
        noise: Standard deviation of the logits of keys at equal distances from a query; None if it
            is not known.
    """

    head: int
    layer: int | None
    step: int | None
    sequence: int
    time: AxisDecay
    space: AxisDecay
    sink: float
    text: float
    kind: str | None = None
    spatial_error: float | None = None
    temporal_error: float | None = None
    noise: float | None = None

    def __post_init__(self) -> None:
        codec.check_ints(self, "head", "layer", "step", "sequence", at_least=0)
        codec.check_share(self, "sink", "text")
        codec.check_numbers(self, "spatial_error", "temporal_error")
        if self.kind is not None:
            codec.check_choice(self, "kind", (SPATIAL, TEMPORAL, OTHER))


@dataclass(frozen=True, slots=True)
class AveragedFit:
    """How well y = exp(-a x + b) fits the mean weight of a pair by distance, as R².

    Attributes:
        averaged: R² of the mean over all heads, by least squares of y.
        averaged_log: By least squares of log y, which is a straight line.
        heads: R² of each head by itself, by least squares of y.
        heads_log: By least squares of log y.
    """

    averaged: float
    averaged_log: float
    heads: tuple[float, ...]
    heads_log: tuple[float, ...]


Grid = tuple[tuple[float, ...], ...]
"""A number at each distance in time (rows) and in space (columns)."""


@dataclass(frozen=True, slots=True)
class KindMass:
    """Mean share of the mass by distance in time and space, over the heads of a kind.

    Attributes:
        kind: As `HeadDecay.kind`.
        heads: How many there are.
        mass: The mean share.
    """

    kind: str
    heads: int
    mass: Grid


@dataclass(frozen=True, slots=True)
class MaskReach:
    """How far a mask reaches.

    Attributes:
        mask: The mask.
        kept: Share of the pairs that it keeps by distance in time and space, on the rows that were
            looked at; 0 where there are none.
    """

    mask: MaskIdentity
    kept: Grid


@dataclass(frozen=True, slots=True)
class DecayReport:
    """Decay of the heads of some inputs.

    Attributes:
        inputs: The inputs.
        grid: Layout of the tokens.
        rows: Query rows of each head that were looked at.
        distance: In space: `steps` or `places`.
        sink_frames: First frames that were left out.
        heads: Each head of each sequence, layer and step.
        time: The exponential fitted to averages over heads, in time.
        space: In space.
        mass: Mean share of the mass by distance in time and space, over all heads.
        kinds: The same over the heads of each kind.
        masks: How far masks reach that it is compared with.
    """

    inputs: InputsIdentity
    grid: TokenGrid
    rows: int
    distance: str
    sink_frames: int
    heads: tuple[HeadDecay, ...]
    time: AveragedFit
    space: AveragedFit
    mass: Grid
    kinds: tuple[KindMass, ...] = ()
    masks: tuple[MaskReach, ...] = ()
