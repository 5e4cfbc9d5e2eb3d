"""Which of our kernels to take where nothing was tuned, and what each can run."""

import torch

from radialbench.errors import BackendError
from radialbench.kernels.offline import SHARED_LIMITS
from radialbench.records.problem import KernelConfig

SIDES = (16, 32, 64, 128, 256)


def default_kernel(
    dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], device: str
) -> tuple[str, KernelConfig]:
    """Choose a kernel for a device, and its warps and stages.

    Args:
        dtype: Type of q, k and v.
        head_dim: Numbers per head and token.
        blocks: Query and key tokens of a block.
        device: Where the tensors are.

    Returns:
        A name of `launch.LAUNCHES`, and the configuration.
    """
    if not kernel_reasons("hopper", dtype, head_dim, blocks, device):
        return "hopper", KernelConfig(*blocks, num_warps=4, num_stages=2)
    copies = not copy_reasons(dtype, head_dim, device)
    shared = shared_limit(device)
    options = portable_options(KernelConfig(*blocks), dtype, head_dim, copies=copies, shared=shared)
    return "triton", KernelConfig(*blocks, **options)


def kernel_reasons(
    kernel: str, dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], device: str
) -> list[str]:
    """Say why a kernel cannot run; empty if it can.

    Raises:
        BackendError: There is no such kernel.
    """
    reasons = form_reasons(kernel, dtype, head_dim, blocks)
    if kernel == "hopper" and capability(device) != (9, 0):
        reasons.append(f"needs a GPU of compute capability 9.0, got {_found(device)}")
    return reasons


def form_reasons(
    kernel: str, dtype: torch.dtype, head_dim: int, blocks: tuple[int, int]
) -> list[str]:
    """Say why a kernel cannot run on any GPU; empty if it can on one.

    Raises:
        BackendError: There is no such kernel.
    """
    if kernel == "triton":
        return _triton_reasons(dtype, head_dim, blocks)
    if kernel == "hopper":
        return _hopper_reasons(dtype, head_dim, blocks)
    raise BackendError(f"kernels are hopper, triton, got {kernel!r}")


def config_reasons(kernel: str, config: KernelConfig, head_dim: int) -> list[str]:
    """Say why a kernel cannot run the way a configuration asks; empty if it can."""
    if kernel == "hopper":
        return _stage_reasons(config.num_stages, head_dim, config.block_n)
    return []


def portable_options(
    config: KernelConfig, dtype: torch.dtype, head_dim: int, *, copies: bool, shared: int
) -> dict[str, int]:
    """Give the warps and stages of the portable kernel, those of `config` first.

    Args:
        config: Blocks, and what is asked for.
        dtype: Type of q, k and v.
        head_dim: Numbers per head and token.
        copies: Whether the copy engine brings keys and values.
        shared: Bytes of shared memory that a thread block may have.
    """
    # Sixteen rows a warp: with more the registers do not suffice at 128 keys.
    warps = max(1, min(8, config.block_m // 16))
    # On an H100 a third stage makes copies a fifth faster, a fifth one another sixth where blocks
    # of few keys leave room for it; what registers load gains nothing.
    most = 2 if not copies else 5 if config.block_m >= 128 and config.block_n <= 64 else 3
    stages = next(
        stages
        for stages in (5, 3, 2, 1)
        if stages == 1
        or (stages <= most and _portable_bytes(config, dtype, head_dim, stages) <= shared)
    )
    return {"num_warps": config.num_warps or warps, "num_stages": config.num_stages or stages}


def shared_limit(device: str) -> int:
    """Give the bytes of shared memory a block may have; of an unknown GPU those of an older one."""
    major, minor = capability(device) or (8, 0)
    arch = 10 * major + minor
    return SHARED_LIMITS[max(known for known in SHARED_LIMITS if known <= max(arch, 80))]


def copy_reasons(dtype: torch.dtype, head_dim: int, device: str) -> list[str]:
    """Say why no copy engine can bring the portable kernel its keys and values.

    Strides and first elements must be multiples of 16 bytes besides: that is known at a launch.
    """
    reasons = []
    if dtype not in (torch.float16, torch.bfloat16):
        reasons.append(f"float16 and bfloat16 are copied, got {_word(dtype)}")
    if head_dim % 8:
        reasons.append(f"head_dim must be a multiple of 8, got {head_dim}")
    found = capability(device)
    if found is None or found < (9, 0):
        reasons.append(f"needs a GPU of compute capability 9.0 or later, got {_found(device)}")
    return reasons


def portable_columns(head_dim: int) -> int:
    """Columns of a tile of the portable kernel."""
    return max(16, 1 << (head_dim - 1).bit_length())


def hopper_columns(head_dim: int) -> int:
    """Columns of a tile in shared memory: head_dim, or the next size there is; zeros fill it up."""
    return 64 if head_dim <= 64 else 128 if head_dim <= 128 else 256


def capability(device: str) -> tuple[int, int] | None:
    """Give a GPU's compute capability; None for what is not an NVIDIA GPU."""
    if not device.startswith("cuda") or not torch.cuda.is_available() or torch.version.hip:
        return None
    return torch.cuda.get_device_capability(device)


def _triton_reasons(dtype: torch.dtype, head_dim: int, blocks: tuple[int, int]) -> list[str]:
    reasons = []
    if dtype not in (torch.float16, torch.bfloat16, torch.float32):
        reasons.append(f"computes float16, bfloat16 and float32, got {_word(dtype)}")
    if head_dim > 256:
        reasons.append(f"head_dim is at most 256, got {head_dim}")
    for block, most in zip(blocks, (256, 128), strict=True):
        if block not in SIDES or block > most:
            reasons.append(
                f"takes blocks of 16 to 256 query and 16 to 128 key tokens, powers of two, "
                f"got {block}"
            )
    return reasons


def _hopper_reasons(dtype: torch.dtype, head_dim: int, blocks: tuple[int, int]) -> list[str]:
    reasons = []
    if blocks[0] != 128:
        reasons.append(f"block_m is 128, got {blocks[0]}")
    wanted = (64,) if head_dim > 128 else (64, 128)
    if blocks[1] not in wanted:
        sizes = " or ".join(map(str, wanted))
        reasons.append(f"block_n is {sizes} at head_dim {head_dim}, got {blocks[1]}")
    if dtype not in (torch.float16, torch.bfloat16):
        reasons.append(f"computes float16 and bfloat16, got {_word(dtype)}")
    if head_dim > 256 or head_dim % 8:
        reasons.append(f"head_dim is a multiple of 8 up to 256, got {head_dim}")
    return reasons


def _stage_reasons(stages: int | None, head_dim: int, block_n: int) -> list[str]:
    if stages is None:
        return []
    # 16 bits a number: the query block, then keys and values of each stage; barriers at the end.
    needed = 2 * hopper_columns(head_dim) * (128 + 2 * stages * block_n) + 1024
    if needed <= SHARED_LIMITS[90]:
        return []
    return [
        f"num_stages {stages} takes {needed:,} bytes of shared memory at head_dim {head_dim} and "
        f"block_n {block_n}, more than the {SHARED_LIMITS[90]:,} there are"
    ]


def _portable_bytes(config: KernelConfig, dtype: torch.dtype, head_dim: int, stages: int) -> int:
    """Bound the shared memory of the portable kernel, as Triton 3.6 and 3.7 lay it out."""
    buffers = 1 if stages == 1 else max(2, (stages + 1) // 2)
    tokens = config.block_m + 2 * buffers * config.block_n
    return dtype.itemsize * portable_columns(head_dim) * tokens + 16 * config.block_m + 64


def _found(device: str) -> str:
    found = capability(device)
    return f"{found[0]}.{found[1]} ({device})" if found else repr(device)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
