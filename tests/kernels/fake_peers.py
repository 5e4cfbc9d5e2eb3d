"""Other libraries' functions by their definition, which read the lists that backends give them."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the modules in the place of the libraries, and the CPU in that of a GPU."""
    to, bmm = Tensor.to, torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda x, y, out_dtype: bmm(x.to(out_dtype), y.to(out_dtype)))
    monkeypatch.setattr(Tensor, "to", lambda x, *a, **k: x if a == ("cuda",) else to(x, *a, **k))
    parts: dict[str, dict[str, Any]] = {
        "cudnn": {},
        "cudnn.block_sparse_attention": {
            "block_sparse_attention_forward": bsa_forward,
            "block_sparse_attention_backward": bsa_backward,
        },
        "cudnn.block_sparse_attention._fp8_quant": {"_quantize_sage_bhsd": bsa_quantize},
        "cudnn.block_sparse_attention._interface": {"_bsa_attn_fwd_sm90_fp8_blk128": bsa_fp8},
        "fa3_fwd_interface": {"flash_attn_func": fa3_forward},
        "cutlass": {"Boolean": bool, "cute": SimpleNamespace(jit=lambda function: function)},
        "flash_attn": {},
        "flash_attn.cute": {},
        "flash_attn.cute.block_sparsity": {"BlockSparseTensorsTorch": Fa4Blocks},
        "flash_attn.cute.interface": {
            "_flash_attn_fwd": fa4_forward,
            "_flash_attn_bwd": fa4_backward,
        },
        "flash_attn.cute.utils": {"scalar_to_ssa": lambda value, _: value},
    }
    for name, functions in parts.items():
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)


def attention(
    q: Tensor, k: Tensor, v: Tensor, attends: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute attention of [batch, heads, tokens, head_dim] where `attends`, in float64."""
    k, v = (x.double().repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = (q.double() @ k.mT * scale).masked_fill(~attends, -torch.inf)
    lse = scores.logsumexp(-1)
    weights = (scores - lse.masked_fill(lse == -torch.inf, 0)[..., None]).exp()
    return (weights @ v).to(q.dtype), lse.float()


def gradients(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dout: Tensor,
    dlse: Tensor | None,
    attends: Tensor,
    scale: float,
) -> tuple[Tensor, ...]:
    """Compute the gradients of `attention`."""
    with torch.enable_grad():
        q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
        out, lse = attention(q, k, v, attends, scale)
        wanted = [out] if dlse is None else [out, lse]
        return torch.autograd.grad(wanted, (q, k, v), [dout] if dlse is None else [dout, dlse])


def listed(index: Tensor, counts: Tensor, columns: int) -> Tensor:
    """[..., rows, columns] the blocks that lists name."""
    blocks = torch.zeros(*index.shape[:-1], columns + 1, dtype=torch.bool)
    used = torch.arange(index.shape[-1]) < counts[..., None]
    return blocks.scatter(-1, torch.where(used, index, columns).long(), value=True)[..., :columns]


def _bsa_pairs(
    q: Tensor, k: Tensor, lists: tuple[Tensor, int | None, Tensor | None, Tensor | None], block: int
) -> Tensor:
    index, count, sizes, counts = lists
    columns = -(-k.shape[2] // block)
    assert index.dtype == torch.int32
    assert index.shape[:3] == (*q.shape[:2], -(-q.shape[2] // block))
    assert (count is None) != (counts is None)
    # The library takes every block for a whole one without them.
    assert (sizes is None) == (k.shape[2] % block == 0)
    number = torch.full(index.shape[:3], count or 0) if counts is None else counts
    blocks = listed(index, number, columns)
    pairs = blocks.repeat_interleave(block, -2).repeat_interleave(block, -1)
    if sizes is not None:
        pairs = pairs & (torch.arange(columns * block) % block < sizes.repeat_interleave(block))
    return pairs[..., : q.shape[2], : k.shape[2]]


def bsa_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *lists: Any,
    sparse_block_size: int,
    softmax_scale: float,
    allow_empty_block_nums: bool,
) -> dict[str, Tensor]:
    """Compute as `cudnn.block_sparse_attention.block_sparse_attention_forward`."""
    pairs = _bsa_pairs(q, k, lists, sparse_block_size)
    assert allow_empty_block_nums == bool((~pairs.any(-1)).any())
    out, lse = attention(q, k, v, pairs, softmax_scale)
    return {"o_tensor": out, "lse_tensor": lse}


def bsa_backward(
    dout: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    *lists: Any,
    sparse_block_size: int,
    softmax_scale: float,
) -> dict[str, Tensor]:
    """Compute as `cudnn.block_sparse_attention.block_sparse_attention_backward`."""
    pairs = _bsa_pairs(q, k, lists, sparse_block_size)
    dq, dk, dv = gradients(q, k, v, dout, None, pairs, softmax_scale)
    return {"dq_tensor": dq, "dk_tensor": dk, "dv_tensor": dv}


def bsa_quantize(q: Tensor, k: Tensor, v: Tensor, *, v_layout: str) -> tuple[Tensor, ...]:
    """Round as `cudnn.block_sparse_attention._fp8_quant._quantize_sage_bhsd`, with a scale each."""
    assert v_layout == "bhds"
    assert all(x.is_contiguous() for x in (q, k, v))
    k = k - k.mean(2, keepdim=True, dtype=torch.float32)
    scales = [float(x.abs().amax()) / 448 for x in (q, k, v)]
    rounded = [
        (x.float() / scale).to(torch.float8_e4m3fn)
        for x, scale in zip((q, k, v.mT), scales, strict=True)
    ]
    return (*rounded, *map(torch.tensor, scales))


def bsa_fp8(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_scale: Tensor,
    k_scale: Tensor,
    v_scale: Tensor,
    index: Tensor,
    count: int,
    softmax_scale: float,
) -> tuple[Tensor, Tensor]:
    """Compute as `cudnn.block_sparse_attention._interface._bsa_attn_fwd_sm90_fp8_blk128`."""
    assert type(count) is int
    q, k, v = (x.float() * y for x, y in ((q, q_scale), (k, k_scale), (v.mT, v_scale)))
    pairs = _bsa_pairs(q, k, (index, count, None, None), 128)
    out, lse = attention(q, k, v, pairs, softmax_scale)
    return out.bfloat16(), lse


def fa3_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    softmax_scale: float,
    return_attn_probs: bool,
    **descales: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute as `fa3_fwd_interface.flash_attn_func` in 8 bits."""
    assert return_attn_probs
    batch, _, key_heads, _ = k.shape
    wide = []
    for name, x in (("q", q), ("k", k), ("v", v)):
        scale = descales[f"{name}_descale"]
        assert x.dtype == torch.float8_e4m3fn
        assert scale.shape == (batch, key_heads)
        assert scale.dtype == torch.float32
        by_head = scale.repeat_interleave(x.shape[2] // key_heads, 1)
        wide.append((x.float() * by_head[:, None, :, None]).transpose(1, 2))
    pairs = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool)
    out, lse = attention(wide[0], wide[1], wide[2], pairs, softmax_scale)
    return out.transpose(1, 2).bfloat16(), lse


class Fa4Blocks(NamedTuple):
    """`flash_attn.cute.block_sparsity.BlockSparseTensorsTorch`."""

    mask_block_cnt: Tensor
    mask_block_idx: Tensor
    full_block_cnt: Tensor
    full_block_idx: Tensor
    block_size: tuple[int, int]


def _fa4_pairs(
    q_len: int, k_len: int, blocks: Fa4Blocks | None, mask_mod: Any, aux: Any, *, by_key: bool
) -> Tensor:
    if blocks is None:
        return torch.ones(q_len, k_len, dtype=torch.bool)
    sides = (-(-q_len // blocks.block_size[0]), -(-k_len // blocks.block_size[1]))
    lists = (blocks.mask_block_idx, blocks.mask_block_cnt, blocks.full_block_idx)
    assert all(x.shape[2] == sides[by_key] for x in lists)
    masked, full = (
        listed(index[0, 0], count[0, 0], sides[not by_key])
        for index, count in ((lists[0], lists[1]), (lists[2], blocks.full_block_cnt))
    )
    if by_key:
        masked, full = masked.T, full.T
    block_m, block_n = blocks.block_size
    masked, full = (
        x.repeat_interleave(block_m, 0).repeat_interleave(block_n, 1)[:q_len, :k_len]
        for x in (masked, full)
    )
    if mask_mod is None:
        assert not masked.any()
        return full
    places = torch.arange(q_len)[:, None], torch.arange(k_len)
    attends: Tensor = mask_mod(0, 0, places[:1], places[1:], None, aux)
    return full | (masked & attends)


def fa4_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    softmax_scale: float,
    return_lse: bool,
    block_sparse_tensors: Fa4Blocks | None = None,
    mask_mod: Any = None,
    aux_tensors: Any = None,
    pack_gqa: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute as `flash_attn.cute.interface._flash_attn_fwd`."""
    assert return_lse
    sides = (q.shape[1], k.shape[1])
    pairs = _fa4_pairs(*sides, block_sparse_tensors, mask_mod, aux_tensors, by_key=False)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out, lse = attention(q, k, v, pairs, softmax_scale)
    return out.transpose(1, 2), lse


def fa4_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    dout: Tensor,
    lse: Tensor,
    *,
    softmax_scale: float,
    dlse: Tensor,
    block_sparse_tensors: Fa4Blocks | None = None,
    mask_mod: Any = None,
    aux_tensors: Any = None,
) -> tuple[Tensor, ...]:
    """Compute as `flash_attn.cute.interface._flash_attn_bwd`."""
    sides = (q.shape[1], k.shape[1])
    pairs = _fa4_pairs(*sides, block_sparse_tensors, mask_mod, aux_tensors, by_key=True)
    q, k, v, dout = (x.transpose(1, 2) for x in (q, k, v, dout))
    grads = gradients(q, k, v, dout, dlse, pairs, softmax_scale)
    return tuple(x.transpose(1, 2) for x in grads)
