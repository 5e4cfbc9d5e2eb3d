"""Problem: the attention to compute. KernelConfig: how a kernel computes it."""

from dataclasses import dataclass

from radialbench.maskgen.grid import TokenGrid
from radialbench.records.codec import check_choice, check_ints, check_numbers, check_text

DTYPES = ("float32", "float16", "bfloat16")
DIRECTIONS = ("forward", "backward")
SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One attention to compute; q, k and v are [batch, heads, seq_len, head_dim].

    Attributes:
        mask_fingerprint: Fingerprint of the mask.
        grid: Token layout.
        batch: Sequences.
        heads: Attention heads.
        head_dim: Numbers per head and token.
        dtype: `float32`, `float16` or `bfloat16`.
        sm_scale: Factor of q·k before the softmax; 1/√head_dim if not given.
        direction: `forward` or `backward`.
    """

    mask_fingerprint: str
    grid: TokenGrid
    batch: int
    heads: int
    head_dim: int
    dtype: str
    sm_scale: float | None = None
    direction: str = "forward"

    def __post_init__(self) -> None:
        check_text(self, "mask_fingerprint")
        check_ints(self, "batch", "heads", "head_dim", at_least=1)
        check_choice(self, "dtype", DTYPES)
        check_choice(self, "direction", DIRECTIONS)
        check_numbers(self, "sm_scale", above=0)

    @property
    def frames(self) -> int:
        """Latent frames."""
        return self.grid.frames

    @property
    def tokens_per_frame(self) -> int:
        """Video tokens of a frame."""
        return self.grid.frame_tokens

    @property
    def seq_len(self) -> int:
        """Tokens of the sequence, text included."""
        return self.grid.seq_len

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
        check_ints(self, "block_m", "block_n", "num_warps", "num_stages", at_least=1)


def group_id(problem: Problem, model: str | None, *, sweep: bool = False, joint: str = "/") -> str:
    """Return the name of the cases that differ only in mask and backend.

    Args:
        problem: What is computed.
        model: The preset of the grid, if it has one.
        sweep: Whether they may differ in their frames too; F stands for the frames.
        joint: Text between the parts.
    """
    grid = problem.grid.sweep_label if sweep else problem.grid.label
    batch = f"b{problem.batch}" if problem.batch > 1 else ""
    shape = f"{batch}h{problem.heads}d{problem.head_dim}{SHORT[problem.dtype]}"
    return joint.join(filter(None, (model, grid, shape)))


def backend_id(backend: str | None, config: KernelConfig) -> str:
    """Return the name of a backend, or of compiling, with what differs from its plain config."""
    plain = plain_config(backend)
    blocks = (config.block_m, config.block_n)
    text = f"{blocks[0]}x{blocks[1]}" if blocks != (plain.block_m, plain.block_n) else ""
    text += f"w{config.num_warps}" if config.num_warps else ""
    text += f"s{config.num_stages}" if config.num_stages else ""
    return f"{backend or 'compile'}@{text}" if text else backend or "compile"


BLOCKS = {"triton": (128, 64)}
"""Blocks of backends that run best with others than 128×128 where nothing was tuned."""


def plain_config(backend: str | None) -> KernelConfig:
    """Return the default configuration of a backend: its blocks, and the rest its own choice."""
    return KernelConfig(*BLOCKS.get(backend or "", ()))
