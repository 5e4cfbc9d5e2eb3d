"""SuiteSpec: what a suite file says, checked and with its masks and grids loaded."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.spec import MaskSpec
from radialbench.records.problem import KernelConfig

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a case is sampled.

    Attributes:
        target: Once there are `min_samples`, stop when the half-width of the median's 95% interval
            is below this share of the median.
        min_samples: Samples to take before that, unless the time is up.
        max_samples: Samples at most.
        max_seconds: When this much time is spent on samples no other is begun; the first sample
            is always taken.
        min_seconds: Time to spend on samples before the median counts as known, `max_samples`
            permitting.
        timeout_seconds: A case that takes this much longer to prepare, or to sample than its
            samples may take, is stopped.
        warmups: Calls before the samples; the call whose accuracy is judged counts as one.
        give_up_ms: If the first calls that are timed take longer, there is only one sample.
        cache: On a GPU, state of its L2 cache when a call begins: `cold` or `warm`.
        interleave: Whether neighbouring cases of one group are sampled in turn, round by round; the
            seconds are then for all of them together.
        ceiling: On a GPU, whether a large matrix product is sampled in turn with them.
        isolated_samples: On a GPU, samples of launches that each follow a pause.
        telemetry_seconds: On a GPU, for how long each case is run while its counters are read.
    """

    target: float = 0.005
    min_samples: int = 5
    max_samples: int = 100
    max_seconds: float = 10.0
    min_seconds: float = 0.5
    timeout_seconds: float = 300.0
    warmups: int = 1
    give_up_ms: float | None = None
    cache: str = "cold"
    interleave: bool = False
    ceiling: bool = False
    isolated_samples: int = 0
    telemetry_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MaskChoice:
    """A mask of a suite.

    Attributes:
        identity: Which mask it is; its label stands in case ids and reports.
        spec: The mask.
    """

    identity: MaskIdentity
    spec: MaskSpec

    @property
    def id(self) -> str:
        """Its part of the case id."""
        return self.identity.label


@dataclass(frozen=True, slots=True)
class GridChoice:
    """A token grid of a suite.

    Attributes:
        grid: The token layout.
        model: The model's preset, if it is a model's grid.
        heads: Heads of the model, if it is a model's grid.
        head_dim: Head dimension of the model, if it is a model's grid.
    """

    grid: TokenGrid
    model: str | None = None
    heads: int | None = None
    head_dim: int | None = None

    @property
    def id(self) -> str:
        """Its part of the case id."""
        return f"{self.model}/{self.grid.label}" if self.model else self.grid.label


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """A backend with its configuration, and where that comes from.

    Attributes:
        name: The backend; None for compiling alone.
        config: Its configuration.
        config_source: `suite`, or `default` where the suite leaves it open.
    """

    name: str | None
    config: KernelConfig
    config_source: str


@dataclass(frozen=True, slots=True)
class Exclude:
    """Cases to leave out: those for which everything that is said holds.

    Attributes:
        mask: Pattern of the mask's id.
        backend: Name of the backend.
        min_tokens: Sequences at least this long.
        max_tokens: Sequences at most this long.
    """

    mask: str | None = None
    backend: str | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None

    def matches(self, mask: str, backend: str | None, seq_len: int) -> bool:
        """Tell whether a case is left out."""
        return (
            (self.mask is None or fnmatchcase(mask, self.mask))
            and (self.backend is None or self.backend == backend)
            and (self.min_tokens is None or seq_len >= self.min_tokens)
            and (self.max_tokens is None or seq_len <= self.max_tokens)
        )


@dataclass(frozen=True, slots=True)
class Matrix:
    """Masks × grids × backends.

    Attributes:
        where: Key of the matrix in its file, such as `cases[0]`.
        measure: `attention`, or `compile` for the time to compile the masks.
        masks: The masks.
        grids: The grids.
        heads: Attention heads; the model's if not given.
        head_dim: Head dimension; the model's if not given.
        batch: Sequences.
        dtype: Type of q, k and v.
        backends: The backends with their block sizes; for `compile` one without a name.
        exclude: Cases to leave out.
        protocol: How cases are sampled.
        gates: The least change of a metric that counts in a check, as `latency=5%`.
    """

    where: str
    measure: str
    masks: tuple[MaskChoice, ...]
    grids: tuple[GridChoice, ...]
    heads: int | None
    head_dim: int | None
    batch: int
    dtype: str
    backends: tuple[BackendChoice, ...]
    exclude: tuple[Exclude, ...]
    protocol: Protocol
    gates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """A suite.

    Attributes:
        name: What people call it.
        description: What it is for.
        tags: Words to find it by.
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        source: The file, for messages.
        cases: Its matrices.
    """

    name: str
    description: str
    tags: tuple[str, ...]
    device: str
    source: str
    cases: tuple[Matrix, ...]
