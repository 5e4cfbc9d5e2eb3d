"""attend_fp8: attention in 8 bits (e4m3) on Hopper, forward only.

`hopper_fp8` is its backend in suites. Nothing takes it by itself.
"""

import torch
from torch import Tensor

from radialbench.errors import BackendError
from radialbench.kernels.arch import Target, target_of
from radialbench.kernels.calls import check_last_stride, check_scale, check_shapes
from radialbench.kernels.device_table import DeviceTable
from radialbench.kernels.op import device_table
from radialbench.kernels.select import gluon_reasons
from radialbench.kernels.triton.fp8_launch import BLOCK, attend_rounded, round_to_fp8
from radialbench.kernels.triton.launch import layout_of, tma_reasons
from radialbench.maskgen.head_tables import AnyTable


def attend_fp8(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: AnyTable | DeviceTable,
    *,
    sm_scale: float | None = None,
    key_len: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attend from each query to the keys that a table keeps, in e4m3, and return out and lse.

    q, k, v and the weights are rounded to 8 bits, a part of every call: q and k, less its mean over
    tokens, by block of 128 tokens, v by channel. Arguments and results are those of
    `block_sparse_attention`; all numbers must be finite. On normal inputs the output is off by
    about 0.05 (relative, L2).

    Raises:
        BackendError: Shapes, types or devices do not match, the kernel cannot run them, or
            gradients are wanted.
    """
    if not isinstance(table, DeviceTable):
        table = device_table(table, q.device)
    key = table.key
    lengths = None if key_len is None else layout_of(key_len)
    check_shapes(layout_of(q), layout_of(k), layout_of(v), lengths, key)
    head_dim = q.shape[3]
    reasons = fp8_reasons(q.dtype, head_dim, (key.block_m, key.block_n), target_of(q.device))
    if table.boxes:
        reasons.append("takes no table of boxes")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        reasons.append("has no gradients: use block_sparse_attention, or torch.no_grad")
    if reasons:
        raise BackendError(f"the hopper_fp8 kernel cannot run this: {'; '.join(reasons)}")
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_last_stride(name, layout_of(x))
    scale = head_dim**-0.5 if sm_scale is None else float(sm_scale)
    check_scale(scale)
    out = torch.empty_like(q)
    if reasons := tma_reasons(out=layout_of(out)):
        raise BackendError(f"the hopper_fp8 kernel cannot write this: {'; '.join(reasons)}")
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    if not q.shape[0]:
        return out, lse
    with torch.cuda.device(q.device):
        rounded = round_to_fp8(q, k, v, key_len)
        attend_rounded(rounded, table, out, lse, sm_scale=scale, key_len=key_len)
    return out, lse


def fp8_reasons(
    dtype: torch.dtype, head_dim: int, blocks: tuple[int, int], target: Target
) -> list[str]:
    """Return why the kernel cannot run; empty if it can. Arguments as in `select`."""
    reasons = []
    if blocks != (BLOCK, BLOCK):
        reasons.append(f"takes blocks of {BLOCK}×{BLOCK}, got {blocks[0]}×{blocks[1]}")
    if dtype not in (torch.float16, torch.bfloat16):
        reasons.append(f"rounds float16 and bfloat16, got {str(dtype).removeprefix('torch.')}")
    if head_dim > 128 or head_dim % 8:
        reasons.append(f"head_dim is a multiple of 8 up to 128, got {head_dim}")
    return reasons + (target.hopper_reasons or gluon_reasons())
