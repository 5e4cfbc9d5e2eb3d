"""TuningRecord: the configuration that tuning chose for a problem."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields

from radialbench.errors import RecordError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records import _check
from radialbench.records.problem import DIRECTIONS, DTYPES, KernelConfig, Problem
from radialbench.records.statistics import Estimate

SCHEMA = 2
"""Version of the stored form. 1: the first. 2: mask in fields, how intervals were found."""

CHOICES = ("tuned", "default")


@dataclass(frozen=True, slots=True)
class TuningKey:
    """What a configuration was tuned for.

    Attributes:
        backend: What computes it.
        device: Name of the GPU, or of the CPU.
        mask_fingerprint: Fingerprint of the mask.
        frames: Latent frames.
        tokens_per_frame: Video tokens of a frame.
        seq_len: Tokens of the sequence, text included.
        batch: Sequences.
        heads: Attention heads.
        head_dim: Numbers per head and token.
        dtype: `float32`, `float16` or `bfloat16`.
        direction: `forward` or `backward`.
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

    def __post_init__(self) -> None:
        _check.filled(self, "backend", "device", "mask_fingerprint")
        _check.whole(
            self,
            *("frames", "tokens_per_frame", "seq_len", "batch", "heads", "head_dim"),
            at_least=1,
        )
        _check.one_of(self, "dtype", DTYPES)
        _check.one_of(self, "direction", DIRECTIONS)


def key_of(problem: Problem, backend: str, device: str) -> TuningKey:
    """Give the key of a problem.

    Args:
        problem: What is computed.
        backend: What computes it.
        device: Name of the GPU, or of the CPU.
    """
    names = [each.name for each in fields(TuningKey) if each.name not in ("backend", "device")]
    shape = {name: getattr(problem, name) for name in names}
    return TuningKey(backend=backend, device=device, **shape)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many trials of a search ended how.

    Attributes:
        rejected: Never measured: constraints, shared memory or spills spoke against them.
        compile_failed: Did not compile.
        crashed: Took their process with them, or raised an error.
        timeout: Took too long.
        wrong: Were further from the definition than the tolerance.
        ok: Were measured.
    """

    rejected: int = 0
    compile_failed: int = 0
    crashed: int = 0
    timeout: int = 0
    wrong: int = 0
    ok: int = 0

    def __post_init__(self) -> None:
        _check.whole(self, *self.__dataclass_fields__, at_least=0)

    @property
    def total(self) -> int:
        """All trials."""
        return sum(astuple(self))


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """What tuning a problem gave.

    Attributes:
        schema: Version of the stored form.
        key: What was tuned.
        mask: The mask.
        config: The configuration to run: the fastest, or the default.
        default: The default configuration it was compared with.
        source: `tuned`, or `default` where nothing beat the default by more than the noise.
        ms: Time of a call with `config`.
        default_ms: Time of a call with `default`, sampled in turn with the former.
        ratio: Of `default_ms` over `ms`, sample by sample; above 1 where `config` is faster.
        trials: How the trials ended.
        sampler: Who proposed them.
        seed: What that one drew from.
        edges: Fields of `config` that lie on the border of what was searched.
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
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "versions", dict(sorted(self.versions.items())))
        _check.whole(self, "schema", at_least=1)
        _check.whole(self, "seed", at_least=0)
        _check.filled(self, "sampler", "kernel")
        if self.mask.fingerprint != self.key.mask_fingerprint:
            raise RecordError("TuningRecord.mask is not the mask of TuningRecord.key")
        _check.one_of(self, "source", CHOICES)
        _check.zoned_time(self, "created")
        for name in ("ms", "default_ms", "ratio"):
            estimate: Estimate = getattr(self, name)
            if min(estimate.ends or (estimate.value,)) <= 0:
                raise RecordError(f"TuningRecord.{name} must be above 0, got {estimate}")
        if self.source == "default" and self.config != self.default:
            raise RecordError("TuningRecord.config is the default if its source says so")
        if self.source == "tuned" and not self.ratio.surely_above(1):
            raise RecordError(
                "TuningRecord.ratio of a tuned configuration has an interval above 1, got "
                f"{self.ratio.low} to {self.ratio.high}: what is not surely faster than the "
                "default is not tuned"
            )

    def stale_reasons(self, kernel: str | None, versions: Mapping[str, str]) -> list[str]:
        """Say what has moved since it was made; empty if nothing that counts has.

        Args:
            kernel: Hash of the kernel's source as it is now; any will do if None.
            versions: Versions that count as they are now, by library.
        """
        reasons = []
        if kernel is not None and self.kernel != kernel:
            reasons.append("the kernel's source has changed")
        for name, now in versions.items():
            then = self.versions.get(name, "not told")
            if then != now:
                reasons.append(f"{name} was {then} and is {now}")
        return reasons
