"""PipelineTime: the time of a transformer's call in a pipeline, with dense attention or a mask."""

from dataclasses import dataclass

from radialbench.errors import RecordError
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records import codec
from radialbench.records.measurement import Measurement, Memory, Telemetry
from radialbench.records.problem import DTYPES
from radialbench.records.result import Environment

SCHEMA = 1
"""Version of the stored form. 1: the first."""


@dataclass(frozen=True, slots=True)
class OutputAccuracy:
    """Errors of a transformer's output against that of the stock one with PyTorch's attention.

    Attributes:
        max_abs_error: Largest error.
        tolerance: Its bound.
        rms_error: Root of the mean squared error.
        rms_tolerance: Its bound.
        reference: What it was compared with.
        dense_rms_error: The same of dense attention, which the comparison has to tell apart from
            the mask; None where the attention itself is dense, or the mask leaves no pair out.
    """

    max_abs_error: float
    tolerance: float
    rms_error: float
    rms_tolerance: float
    reference: str
    dense_rms_error: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_abs_error", "rms_error"):
            if getattr(self, name) < 0:  # nan and infinity are those of a result that is not finite
                codec.check_numbers(self, name)
        codec.check_numbers(self, "dense_rms_error")
        codec.check_numbers(self, "tolerance", "rms_tolerance", above=0)
        codec.check_text(self, "reference")

    @property
    def passed(self) -> bool:
        """Whether the errors are within their bounds, and those of dense attention are not."""
        return not self.reason

    @property
    def reason(self) -> str:
        """Why it did not pass; empty if it did."""
        for error, bound in (
            (self.max_abs_error, self.tolerance),
            (self.rms_error, self.rms_tolerance),
        ):
            if not error <= bound:
                return (
                    f"the output differs from that of {self.reference} by {error:.2g}, where "
                    f"rounding allows {bound:.2g}"
                )
        if self.dense_rms_error is not None and self.dense_rms_error <= self.rms_tolerance:
            return (
                "the output cannot show whether the mask is right: dense attention changes it by "
                f"{self.dense_rms_error:.2g}, and rounding by up to {self.rms_tolerance:.2g}"
            )
        return ""


@dataclass(frozen=True, slots=True)
class PipelineTime:
    """The time of a call of a transformer; those of one measurement were sampled in turn.

    Attributes:
        schema: Version of the stored form.
        title: The model, for people.
        transformer: Its class in diffusers.
        weights: `random`, or where they are from.
        grid: Tokens of a call.
        heads: Attention heads.
        head_dim: Numbers per head and token.
        layers: Layers with self-attention.
        dtype: Type of the weights.
        schedule: Name of the mask, or of the schedule of masks.
        steps: Denoising steps of a video.
        calls: Calls of a step: two where guidance needs them.
        count: Steps of the video whose layers have these masks.
        masks: Masks of its sparse layers; none where all are dense.
        sparse_layers: Layers with a mask.
        density: Share of pairs that attend, over all layers.
        kernel: What computes the sparse layers; None if there are none.
        dense_kernel: What computes the dense layers, `stock` for the attention that the pipeline
            has; None if there are none.
        accuracy: Errors of the output.
        timing: Samples; None exactly where the accuracy did not pass.
        attention_ms: Time of its self-attention within each sample; empty where not known.
        memory: Peak memory of a call, beside the weights.
        telemetry: A GPU's counters over repeated calls.
        environment: Where it ran.
        created: When it ended, in ISO 8601 with its zone.
    """

    schema: int
    title: str
    transformer: str
    weights: str
    grid: TokenGrid
    heads: int
    head_dim: int
    layers: int
    dtype: str
    schedule: str
    steps: int
    calls: int
    count: int
    masks: tuple[MaskIdentity, ...]
    sparse_layers: int
    density: float
    kernel: str | None
    dense_kernel: str | None
    accuracy: OutputAccuracy
    timing: Measurement | None
    attention_ms: tuple[float, ...]
    memory: Memory | None
    telemetry: Telemetry | None
    environment: Environment
    created: str

    def __post_init__(self) -> None:
        codec.check_ints(
            self, "schema", "heads", "head_dim", "layers", "steps", "calls", at_least=1
        )
        codec.check_ints(self, "count", "sparse_layers", at_least=0)
        codec.check_text(self, "title", "transformer", "weights", "schedule")
        codec.check_choice(self, "dtype", DTYPES)
        codec.check_share(self, "density")
        codec.check_each(self, "attention_ms")
        codec.check_time(self, "created")
        if self.sparse_layers > self.layers or self.count > self.steps:
            raise RecordError("PipelineTime: more layers or steps than there are")
        if (self.sparse_layers > 0) != (self.kernel is not None) or (
            self.sparse_layers < self.layers
        ) != (self.dense_kernel is not None):
            raise RecordError("PipelineTime: sparse and dense layers name what computes them")
        if self.accuracy.passed != (self.timing is not None):
            raise RecordError("PipelineTime: no time without an output that was compared")
        samples = 0 if self.timing is None else len(self.timing.samples_ms)
        if len(self.attention_ms) not in (0, samples):
            raise RecordError("PipelineTime.attention_ms has one time for each sample, or none")

    @property
    def is_dense(self) -> bool:
        """Whether all layers are dense."""
        return self.sparse_layers == 0
