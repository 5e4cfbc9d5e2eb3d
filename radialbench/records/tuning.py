"""TuningRecord: the configuration that tuning chose for a problem."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields

from radialbench.errors import RecordError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.codec import check_choice, check_ints, check_text, check_time
from radialbench.records.measurement import LONGEST_MS, SHORTEST_MS
from radialbench.records.problem import DIRECTIONS, DTYPES, GroupedHeads, KernelConfig, Problem
from radialbench.records.statistics import Estimate

SCHEMA = 2
"""Version of the stored form. 1: the first. 2: mask in fields, how intervals were found."""


@dataclass(frozen=True, slots=True)
class TuningKey(GroupedHeads):
    """What a configuration was tuned for.

    Attributes:
        backend: What computes it.
        device: Name of the GPU, or of the CPU.
        mask_fingerprint: Fingerprint of the mask.
        frames: Latent frames.
        tokens_per_frame: Video tokens of a frame.
        seq_len: Tokens of the sequence, text included.
        batch: Sequences.
        heads: Attention heads, those of q.
        head_dim: Numbers per head and token.
        dtype: `float32`, `float16` or `bfloat16`.
        direction: `forward`, `backward` or `both`.
        kv_heads: Heads of k and v, if they are fewer.
        q_len: Query tokens, if they are fewer than the tokens of the sequence.
    """

    backend: str
    device: str
    mask_fingerprint: str
    frames: int
    tokens_per_frame: int
    seq_len: int
    batch: int
    heads: int
    head_dim: int
    dtype: str
    direction: str = "forward"
    kv_heads: int | None = None
    q_len: int | None = None

    def __post_init__(self) -> None:
        check_text(self, "backend", "device", "mask_fingerprint")
        check_ints(
            self,
            *("frames", "tokens_per_frame", "seq_len", "batch", "heads", "head_dim"),
            at_least=1,
        )
        self._check_heads()
        check_choice(self, "dtype", DTYPES)
        check_choice(self, "direction", DIRECTIONS)
        check_ints(self, "q_len", at_least=1)
        if self.q_len == self.seq_len:
            object.__setattr__(self, "q_len", None)

    @property
    def queries(self) -> int:
        """Query tokens."""
        return self.q_len or self.seq_len


def key_of(problem: Problem, backend: str, device: str) -> TuningKey:
    """Return the key of a problem for a backend and a device, a GPU's or CPU's name."""
    names = [each.name for each in fields(TuningKey) if each.name not in ("backend", "device")]
    shape = {name: getattr(problem, name) for name in names}
    return TuningKey(backend=backend, device=device, **shape)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Counts of a search's trials by outcome.

    Attributes:
        rejected: Not measured, because of constraints, shared memory or spills.
        compile_failed: Did not compile.
        crashed: Ended their process, or raised an error.
        timeout: Took too long.
        wrong: Had errors above the tolerance.
        ok: Were measured.
    """

    rejected: int = 0
    compile_failed: int = 0
    crashed: int = 0
    timeout: int = 0
    wrong: int = 0
    ok: int = 0

    def __post_init__(self) -> None:
        check_ints(self, *self.__dataclass_fields__, at_least=0)

    @property
    def total(self) -> int:
        """All trials."""
        return sum(astuple(self))


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """The result of tuning a problem.

    Attributes:
        schema: Version of the stored form.
        key: The problem that was tuned.
        mask: The mask.
        config: The configuration to run: the fastest, or the default.
        default: The default configuration it was compared with.
        source: `tuned`, or `default` where nothing beat the default by more than the noise.
        ms: Time of a call with `config`.
        default_ms: Time of a call with `default`, sampled in turn with `ms`.
        ratio: `default_ms` over `ms`, sample by sample; above 1 where `config` is faster.
        trials: Counts of the trials by outcome.
        sampler: What proposed them.
        seed: Seed of the sampler.
        edges: Fields of `config` on the border of the search space.
        kernel: Hash of the source of the kernel that was timed.
        versions: Versions of the libraries, by name.
        created: When, in ISO 8601 with its zone.
    """

    schema: int
    key: TuningKey
    mask: MaskIdentity
    config: KernelConfig
    default: KernelConfig
    source: str
    ms: Estimate
    default_ms: Estimate
    ratio: Estimate
    trials: Outcomes
    sampler: str
    seed: int
    edges: tuple[str, ...]
    kernel: str
    versions: dict[str, str] = field(hash=False)
    created: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", dict(sorted(self.versions.items())))
        check_ints(self, "schema", at_least=1)
        check_ints(self, "seed", at_least=0)
        check_text(self, "sampler", "kernel")
        if self.mask.fingerprint != self.key.mask_fingerprint:
            raise RecordError("TuningRecord.mask is not the mask of TuningRecord.key")
        check_choice(self, "source", ("tuned", "default"))
        check_time(self, "created")
        for name in ("ms", "default_ms", "ratio"):
            estimate: Estimate = getattr(self, name)
            low, high = estimate.ends or (estimate.value, estimate.value)
            if not (low >= SHORTEST_MS and high <= LONGEST_MS):
                raise RecordError(
                    f"TuningRecord.{name} must be from {SHORTEST_MS:g} to {LONGEST_MS:g}, got "
                    f"{estimate}"
                )
        if self.source == "default" and self.config != self.default:
            raise RecordError("TuningRecord.config is the default if its source says so")
        if self.source == "tuned" and not self.ratio.surely_above(1):
            raise RecordError(
                "TuningRecord.ratio of a tuned configuration has an interval above 1, got "
                f"{self.ratio.low} to {self.ratio.high}: what is not surely faster than the "
                "default is not tuned"
            )

    def stale_reasons(self, kernel: str | None, versions: Mapping[str, str]) -> list[str]:
        """Return what has changed since it was tuned; empty if nothing relevant has.

        Args:
            kernel: Hash of the kernel's source now; not compared if None.
            versions: Relevant versions now, by library.
        """
        moved = kernel is not None and self.kernel != kernel
        reasons = ["the kernel's source has changed"] if moved else []
        then = {name: self.versions.get(name, "not recorded") for name in versions}
        changed = [name for name in versions if then[name] != versions[name]]
        return reasons + [f"{name} was {then[name]} and is {versions[name]}" for name in changed]
