"""The backward kernel for Hopper: its gradients are those of the definition."""

import numpy as np
import pytest
import torch

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.arch import Target
from radialbench.kernels.backward import block_sparse_attention_backward
from radialbench.kernels.device_table import DeviceTable, upload
from radialbench.kernels.op import block_sparse_attention, device_table
from radialbench.kernels.triton.backward_hopper_launch import hopper_backward_reasons
from radialbench.kernels.triton.launch import layout_of
from radialbench.maskgen.library import mask_names
from radialbench.maskgen.table import BlockTable
from tests.kernels.tables import mixed_mask, rows_of, table_of
from tests.kernels.test_backward import QKV, check, inputs

BF16 = torch.bfloat16


def taken(qkv: QKV, table: BlockTable | DeviceTable) -> None:
    """Fail unless the kernel for Hopper computes these gradients here."""
    q, k, v = map(layout_of, qkv)
    on_device = table if isinstance(table, DeviceTable) else device_table(table, qkv[0].device)
    reasons = hopper_backward_reasons(q, q, k, v, table=on_device.key, target=Target("cuda", 90))
    assert not reasons


@pytest.fixture
def hopper() -> None:
    """Skip on other GPUs, and leave nan in the memory that results will have."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")
    del_later = [torch.full((1 << n,), float("nan"), device="cuda") for n in range(8, 24)]
    del del_later


@pytest.mark.gpu
@pytest.mark.usefixtures("hopper")
class TestOnHopper:
    @pytest.mark.parametrize("name", mask_names())
    def test_library_masks(self, name: str) -> None:
        grid = TokenGrid(3, 12, 20, text_tokens=70, text_valid=61)
        given = {"selected": np.ones((7, 7), np.bool_)} if name == "radial_or_table" else {}
        table = compile_mask(load_mask(name, empty_rows="keep"), grid, tables=given)
        mask = torch.from_numpy(table.to_dense())
        qkv = inputs(grid.seq_len, heads=2, head_dim=128, dtype=BF16)
        taken(qkv, table)
        dq, dk, dv = check(qkv, table, mask)
        assert torch.all(dq[:, :, ~mask.any(1)] == 0)
        assert torch.all(dk[:, :, ~mask.any(0)] == 0)
        assert torch.all(dv[:, :, ~mask.any(0)] == 0)

    @pytest.mark.parametrize(
        ("tokens", "head_dim", "dtype"),
        [
            (1, 128, BF16),
            (65, 72, torch.float16),
            (129, 96, BF16),
            (1000, 128, torch.float16),
            (1, 8, BF16),
            (129, 40, BF16),
            (1000, 64, torch.float16),
        ],
    )
    def test_ragged_sizes(self, tokens: int, head_dim: int, dtype: torch.dtype) -> None:
        mask = mixed_mask(tokens)
        qkv, table = inputs(tokens, head_dim=head_dim, dtype=dtype), table_of(mask, 128, 128)
        taken(qkv, table)
        check(qkv, table, torch.from_numpy(mask))

    @pytest.mark.parametrize("head_dim", [64, 128])
    def test_groups_of_heads_share_key_heads_and_sequences_have_lengths(
        self, head_dim: int
    ) -> None:
        masks, groups = [mixed_mask(700, seed=seed) for seed in (1, 2)], [1, 0, 0, 1]
        table = upload([table_of(mask, 128, 128) for mask in masks], "cuda", groups)
        qkv = inputs(700, heads=4, kv_heads=2, batch=3, head_dim=head_dim, dtype=BF16)
        taken(qkv, table)
        key_len = torch.tensor([0, 333, 640], dtype=torch.int32, device="cuda")
        there = torch.arange(700) < key_len.cpu()[:, None]
        chosen = torch.from_numpy(np.stack([masks[group] for group in groups]))
        with torch.no_grad():
            for x in qkv[1:]:
                x[~there[:, None].expand(x.shape[:3])] = 0.0
        _, dk, dv = check(qkv, table, chosen & there[:, None, None], key_len=key_len)
        for x in (dk, dv):
            assert torch.all(x[~there[:, None].expand(x.shape[:3])] == 0)

    def test_fewer_queries_than_keys(self) -> None:
        mask = mixed_mask(600)
        table = rows_of(table_of(mask, 128, 128), 1, 400)
        qkv = inputs(600, q_len=400, heads=2, head_dim=128, dtype=BF16)
        taken(qkv, table)
        check(qkv, table, torch.from_numpy(mask[128:528]))

    def test_tokens_before_heads(self) -> None:
        """[batch, tokens, heads, head_dim] in memory: gradients have the same strides."""
        grid = TokenGrid(3, 12, 20)
        table = compile_mask(load_mask("radial"), grid)
        mask = torch.from_numpy(table.to_dense())
        drawn = inputs(grid.seq_len, heads=3, batch=2, head_dim=128, dtype=BF16)
        q, k, v = (
            x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in drawn
        )
        taken((q, k, v), table)
        grads = check((q, k, v), table, mask)
        assert [x.stride() for x in grads] == [x.stride() for x in (q, k, v)]

    def test_a_fixed_order_is_to_be_had(self) -> None:
        grid = TokenGrid(9, 30, 52)
        table = device_table(compile_mask(load_mask("radial"), grid), "cuda")
        q, k, v = (x.detach() for x in inputs(grid.seq_len, heads=2, head_dim=128, dtype=BF16))
        out, lse = block_sparse_attention(q, k, v, table, return_lse=True)

        def gradients() -> tuple[torch.Tensor, ...]:
            return block_sparse_attention_backward(q, q, k, v, out, lse, table)

        usual = gradients()
        torch.use_deterministic_algorithms(True)
        try:
            fixed, again = gradients(), gradients()
        finally:
            torch.use_deterministic_algorithms(False)
        for one, same, other in zip(fixed, again, usual, strict=True):
            assert torch.equal(one, same)
            assert (one - other).norm() <= 0.01 * one.norm()


def test_what_it_cannot_run_is_named() -> None:
    qkv = inputs(300, head_dim=136, dtype=BF16)
    q, k, v = map(layout_of, qkv)
    table = upload([table_of(mixed_mask(300), 128, 64)], "cpu")
    reasons = hopper_backward_reasons(q, q, k, v, table=table.key, target=Target("cuda", 90))
    assert reasons == [
        "gradients take blocks of 128×128",
        "gradients take a head_dim up to 128, got 136",
    ]
