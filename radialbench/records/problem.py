"""Problem: the attention to compute. KernelConfig: how a kernel computes it."""

from dataclasses import dataclass

from radialbench.errors import RecordError
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.codec import check_choice, check_ints, check_numbers, check_text
from radialbench.records.fidelity import InputsIdentity

DTYPES = ("float32", "float16", "bfloat16")
DIRECTIONS = ("forward", "backward", "both")
SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


class GroupedHeads:
    """Heads of attention, where some query heads may share a key head.

    Attributes:
        heads: Heads of q.
        kv_heads: Heads of k and v, if they are fewer. Query head h attends to the keys of head
            h // (heads / kv_heads).
    """

    __slots__ = ()

    heads: int
    kv_heads: int | None

    def _check_heads(self) -> None:
        """Refuse key heads that do not divide the heads, and forget those that are as many.

        Raises:
            RecordError: They do not divide them.
        """
        check_ints(self, "heads", "kv_heads", at_least=1)
        if self.heads % self.key_heads:
            name = f"{type(self).__name__}.kv_heads"
            raise RecordError(f"{name} must divide the {self.heads} heads, got {self.kv_heads}")
        if self.kv_heads == self.heads:
            object.__setattr__(self, "kv_heads", None)

    @property
    def key_heads(self) -> int:
        """Heads of k and v."""
        return self.kv_heads or self.heads

    @property
    def heads_label(self) -> str:
        """Heads in a name: `h40`, or `h40kv8`."""
        return f"h{self.heads}" + (f"kv{self.kv_heads}" if self.kv_heads else "")

    @property
    def heads_text(self) -> str:
        """Heads for people: `40 heads`, or `40 heads (8 key heads)`."""
        text = f"{self.heads} head{'s' * (self.heads > 1)}"
        keys = f" ({self.kv_heads} key head{'s' * (self.key_heads > 1)})"
        return text + (keys if self.kv_heads else "")


@dataclass(frozen=True, slots=True)
class Problem(GroupedHeads):
    """One attention to compute.

    q is [batch, heads, q_len, head_dim], k and v are [batch, key_heads, seq_len, head_dim].

    Attributes:
        mask_fingerprint: Fingerprint of the mask.
        grid: Token layout.
        batch: Sequences.
        heads: Attention heads, those of q.
        head_dim: Numbers per head and token.
        dtype: `float32`, `float16` or `bfloat16`.
        sm_scale: Factor of q·k before the softmax; 1/√head_dim if not given.
        direction: `forward`, `backward` for the gradients alone, or `both`.
        kv_heads: Heads of k and v, if they are fewer.
    """

    mask_fingerprint: str
    grid: TokenGrid
    batch: int
    heads: int
    head_dim: int
    dtype: str
    sm_scale: float | None = None
    direction: str = "forward"
    kv_heads: int | None = None

    def __post_init__(self) -> None:
        check_text(self, "mask_fingerprint")
        check_ints(self, "batch", "head_dim", at_least=1)
        self._check_heads()
        check_choice(self, "dtype", DTYPES)
        check_choice(self, "direction", DIRECTIONS)
        check_numbers(self, "sm_scale", above=0)

    @property
    def matmuls(self) -> int:
        """Matmuls of a pair of blocks: scores and output, or five for the gradients, or all."""
        return {"forward": 2, "backward": 5, "both": 7}[self.direction]

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
        """Tokens of the sequence, text included: the keys."""
        return self.grid.seq_len

    @property
    def q_len(self) -> int:
        """Query tokens: all, or those of the grid's query frames."""
        return self.grid.q_len

    @property
    def scale(self) -> float:
        """Factor of q·k before the softmax."""
        return self.head_dim**-0.5 if self.sm_scale is None else self.sm_scale


@dataclass(frozen=True, slots=True)
class Steps:
    """How a portable backward kernel walks over blocks.

    Attributes:
        own: Tokens whose gradients a program computes; divides the block.
        step: Tokens of the other side that it takes at a time; divides the block.
        num_warps: Warps of a program.
        num_stages: Stages of its loops.
    """

    own: int
    step: int
    num_warps: int
    num_stages: int

    def __post_init__(self) -> None:
        check_ints(self, "own", "step", "num_warps", "num_stages", at_least=1)


@dataclass(frozen=True, slots=True)
class GradientSteps:
    """How the portable kernels compute gradients.

    Attributes:
        dq: That of queries: its own tokens are queries, its steps are of keys.
        dkdv: Those of keys and values: the other way round.
    """

    dq: Steps
    dkdv: Steps


@dataclass(frozen=True, slots=True, repr=False)
class KernelConfig:
    """How a kernel computes; never changes which pairs attend.

    Attributes:
        block_m: Query tokens of a block.
        block_n: Key tokens of a block.
        num_warps: Warps of a thread block, where the backend has them.
        num_stages: Pipeline stages, where the backend has them.
        gradients: Steps of gradients, where the portable kernels compute them.
    """

    block_m: int = 128
    block_n: int = 128
    num_warps: int | None = None
    num_stages: int | None = None
    gradients: GradientSteps | None = None

    def __post_init__(self) -> None:
        check_ints(self, "block_m", "block_n", "num_warps", "num_stages", at_least=1)

    def __repr__(self) -> str:
        """Leave out gradients where they are open."""
        names = ["block_m", "block_n", "num_warps", "num_stages"]
        names += ["gradients"] if self.gradients else []
        return f"KernelConfig({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def group_id(
    problem: Problem,
    model: str | None,
    inputs: InputsIdentity | None = None,
    *,
    sweep: bool = False,
    joint: str = "/",
) -> str:
    """Return the name of the cases that differ only in mask and backend.

    Args:
        problem: What is computed.
        model: The preset of the grid, if it has one.
        inputs: What q, k and v are, if not normal numbers.
        sweep: Whether they may differ in their frames too; F stands for the frames.
        joint: Text between the parts.
    """
    grid = problem.grid.sweep_label if sweep else problem.grid.label
    batch = f"b{problem.batch}" if problem.batch > 1 else ""
    shape = f"{batch}{problem.heads_label}d{problem.head_dim}{SHORT[problem.dtype]}"
    direction = problem.direction if problem.direction != "forward" else None
    words = (model, grid, shape, direction, inputs.word if inputs else None)
    return joint.join(filter(None, words))


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


KERNEL_OF = {
    "hopper_boxes": "hopper",
    "topk_cpu": "cpu",
    "topk_hopper": "hopper",
    "topk_triton": "triton",
}
"""The backend whose kernel runs, and whose configurations are used, of backends that wrap one."""

FP8 = ("bsa_fp8", "fa3_fp8", "hopper_fp8")
"""Backends that round q, k, v and weights to 8 bits (e4m3), as a part of the call."""


def plain_config(backend: str | None) -> KernelConfig:
    """Return the default configuration of a backend: its blocks, and the rest its own choice."""
    name = backend or ""
    return KernelConfig(*BLOCKS.get(KERNEL_OF.get(name, name), ()))
