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
    # Four warps hold the accumulators of 64 columns, eight those of 128 and more.
    return "triton", KernelConfig(*blocks, num_warps=4 if head_dim <= 64 else 8, num_stages=2)


def kernel_reasons(
    kernel: str, dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], device: str
) -> list[str]:
    """Say why a kernel cannot run; empty if it can.

    Raises:
        BackendError: There is no such kernel.
    """
    if kernel == "triton":
        return _triton_reasons(dtype, head_dim, blocks)
    if kernel == "hopper":
        return _hopper_reasons(dtype, head_dim, blocks, device)
    raise BackendError(f"kernels are hopper, triton, got {kernel!r}")


def config_reasons(
    kernel: str, config: KernelConfig, dtype: torch.dtype, head_dim: int, device: str
) -> list[str]:
    """Say why a kernel cannot run the way a configuration asks; empty if it can."""
    if kernel == "hopper":
        reasons = _stage_reasons(config.num_stages, head_dim, config.block_n)
        if config.warp_specialize is False:
            reasons.append("its warps are specialized always; leave warp_specialize out")
        return reasons
    if kernel == "triton" and config.warp_specialize:
        return [
            f"warps cannot be specialized here: {reason}"
            for reason in specialize_reasons(config, dtype, head_dim, device)
        ]
    return []


def specialize_reasons(
    config: KernelConfig, dtype: torch.dtype, head_dim: int, device: str
) -> list[str]:
    """Say why the portable kernel cannot have a warp that copies; empty if it can.

    Strides and first elements must be multiples of 16 bytes besides, and key lengths rule it out:
    that is known at a launch.
    """
    reasons = []
    if (config.block_m, config.block_n) != (128, 128):
        reasons.append(f"blocks are 128×128, got {config.block_m}×{config.block_n}")
    # Three stages do not fit at head_dim 128; other numbers of warps are not specialized.
    if config.num_warps not in (None, 4) or config.num_stages not in (None, 2):
        reasons.append(
            f"num_warps is 4 and num_stages 2, got {config.num_warps} and {config.num_stages}"
        )
    if dtype not in (torch.float16, torch.bfloat16):
        reasons.append(f"computes float16 and bfloat16, got {_word(dtype)}")
    if head_dim > 128 or head_dim % 8:
        reasons.append(f"head_dim is a multiple of 8 up to 128, got {head_dim}")
    if capability(device) != (9, 0):
        reasons.append(f"needs a GPU of compute capability 9.0, got {_found(device)}")
    return reasons


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


def _hopper_reasons(
    dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], device: str
) -> list[str]:
    reasons = []
    if blocks[0] != 128:
        reasons.append(f"block_m is 128, got {blocks[0]}")
    wanted = (64,) if head_dim > 128 else (64, 128)
    if blocks[1] not in wanted:
        sizes = " or ".join(map(str, wanted))
        reasons.append(f"block_n is {sizes} at head_dim {head_dim}, got {blocks[1]}")
    if capability(device) != (9, 0):
        reasons.append(f"needs a GPU of compute capability 9.0, got {_found(device)}")
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


def _found(device: str) -> str:
    found = capability(device)
    return f"{found[0]}.{found[1]} ({device})" if found else repr(device)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
