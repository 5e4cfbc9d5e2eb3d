"""Which configuration a launch takes if none is given: the tuned one, or the default."""

from functools import lru_cache

import torch

from radialbench.kernels.defaults import config_reasons, default_kernel, kernel_reasons
from radialbench.kernels.tuned import look_up, processor
from radialbench.records.lookup import Found
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey


def choose_kernel(
    backend: str | None, dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], device: str
) -> tuple[str, KernelConfig]:
    """Give the kernel that is asked for, or the best for the device, and its default."""
    name, default = default_kernel(dtype, head_dim, blocks, device)
    if backend in (None, name):
        return name, default
    # The kernel's own default: the best kernel's is not for another.
    return backend, KernelConfig(*blocks)


@lru_cache(maxsize=4096)
def chosen(
    backend: str,
    default: KernelConfig,
    device: torch.device,
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
    *,
    mask_fingerprint: str,
    frames: int,
    tokens_per_frame: int,
) -> Found:
    """Choose the configuration of a launch; looked up once a process for each problem.

    Args:
        backend: The kernel.
        default: What it takes if nothing is found, in the table's blocks.
        device: Where the tensors are.
        dtype: Their type.
        shape: Of q, [batch, heads, seq_len, head_dim].
        mask_fingerprint: Fingerprint of the mask; empty if the table does not tell.
        frames: Latent frames.
        tokens_per_frame: Video tokens of a frame.

    Raises:
        RecordError: Records cannot be read.
    """
    if not mask_fingerprint:
        return Found(default, "default", None, "the table does not say which mask it is of")
    batch, heads, seq_len, head_dim = shape
    key = TuningKey(
        backend=backend,
        device=processor(str(device)),
        mask_fingerprint=mask_fingerprint,
        frames=frames,
        tokens_per_frame=tokens_per_frame,
        seq_len=seq_len,
        batch=batch,
        heads=heads,
        head_dim=head_dim,
        dtype=str(dtype).removeprefix("torch."),
    )

    def feasible(config: KernelConfig) -> list[str]:
        blocks = (config.block_m, config.block_n)
        return [
            *kernel_reasons(backend, dtype, head_dim, blocks, str(device)),
            *config_reasons(backend, config, head_dim),
        ]

    found = look_up(key, default=default, feasible=feasible)
    config, blocks = found.config, (default.block_m, default.block_n)
    if (config.block_m, config.block_n) != blocks:
        reason = (
            f"{found.reason}, in blocks of {config.block_m}×{config.block_n}; the table has "
            f"{blocks[0]}×{blocks[1]}: compile the mask with the former"
        )
        return Found(default, "default", None, reason)
    return found
