"""Which of our kernels to take where nothing was tuned, and what each can run."""

import torch

from radialbench.errors import BackendError
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
    found = capability(device)
    if found != (9, 0):
        shown = f"{found[0]}.{found[1]} ({device})" if found else repr(device)
        reasons.append(f"needs a GPU of compute capability 9.0, got {shown}")
    if dtype not in (torch.float16, torch.bfloat16):
        reasons.append(f"computes float16 and bfloat16, got {_word(dtype)}")
    if head_dim > 256 or head_dim % 8:
        reasons.append(f"head_dim is a multiple of 8 up to 256, got {head_dim}")
    return reasons


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
