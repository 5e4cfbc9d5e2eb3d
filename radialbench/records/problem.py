"""Problem: what is computed. KernelConfig: how."""

from dataclasses import dataclass

from radialbench.errors import RecordError
from radialbench.records import _check

DTYPES = ("float32", "float16", "bfloat16")
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True, slots=True)
class Problem:
    """One attention to compute; q, k and v are [batch, heads, seq_len, head_dim].

    Attributes:
        mask: Fingerprint of the mask.
        grid: Label of the token grid.
        frames: Latent frames.
        tokens_per_frame: Video tokens of a frame.
        seq_len: Tokens of the sequence, text included.
        batch: Sequences.
        heads: Attention heads.
        head_dim: Numbers per head and token.
        dtype: `float32`, `float16` or `bfloat16`.
        sm_scale: Factor of q·k before the softmax; 1/√head_dim if not given.
        direction: `forward` or `backward`.
    """

    mask: str
    grid: str
    frames: int
    tokens_per_frame: int
    seq_len: int
    batch: int
    heads: int
    head_dim: int
    dtype: str
    sm_scale: float | None = None
    direction: str = "forward"

    def __post_init__(self) -> None:
        _check.filled(self, "mask", "grid")
        _check.whole(
            self,
            *("frames", "tokens_per_frame", "seq_len", "batch", "heads", "head_dim"),
            at_least=1,
        )
        _check.one_of(self, "dtype", DTYPES)
        _check.one_of(self, "direction", DIRECTIONS)
        _check.finite(self, "sm_scale", above=0)
        if self.seq_len < self.frames * self.tokens_per_frame:
            raise RecordError(
                f"Problem.seq_len must hold the video's {self.frames}·{self.tokens_per_frame} "
                f"tokens, got {self.seq_len}"
            )

    @property
    def scale(self) -> float:
        """Factor of q·k before the softmax."""
        return self.head_dim**-0.5 if self.sm_scale is None else self.sm_scale


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """How a kernel computes; never changes which pairs attend.

    Attributes:
        block_m: Query tokens of a block.
        block_n: Key tokens of a block.
        num_warps: Warps of a thread block, where the backend has them.
        num_stages: Pipeline stages, where the backend has them.
    """

    block_m: int = 128
    block_n: int = 128
    num_warps: int | None = None
    num_stages: int | None = None

    def __post_init__(self) -> None:
        _check.whole(self, "block_m", "block_n", "num_warps", "num_stages", at_least=1)


BLOCKS = {"triton": (128, 64)}
"""Blocks of backends that run best with others than 128×128 where nothing was tuned."""


def plain_config(backend: str | None) -> KernelConfig:
    """Give what a backend runs where nothing is said: its blocks, the rest of its own choice."""
    return KernelConfig(*BLOCKS.get(backend or "", ()))
