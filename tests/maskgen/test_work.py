"""Work of whole models: against what PyTorch counts when diffusers' own classes run."""

from typing import Any

import pytest

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import GridError
from radialbench.maskgen.grid import load_model, model_names
from radialbench.maskgen.work import CallWork, Schedule, attention_work, call_work, video_work

KNOWN = ("hunyuanvideo", "mochi-1", "wan2.1-14b")
SIZES = {"hunyuanvideo": "96x64x9", "mochi-1": "96x64x13", "wan2.1-14b": "96x64x9"}


def counted(name: str) -> int:
    """Run a call of the full model without data, and have PyTorch count its operations."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            CALLS[name]()
    total: int = counter.get_total_flops()
    return total


def _built(name: str) -> Any:
    import diffusers

    return getattr(diffusers, name)()


def _wan() -> Any:
    import torch

    return _built("WanTransformer3DModel")(
        torch.empty(1, 16, 3, 8, 12), torch.empty(1), torch.empty(1, 512, 4096)
    )


def _hunyuan() -> Any:
    import torch

    return _built("HunyuanVideoTransformer3DModel")(
        torch.empty(1, 16, 3, 8, 12),
        torch.empty(1),
        torch.empty(1, 256, 4096),
        torch.empty(1, 256, dtype=torch.bool),
        torch.empty(1, 768),
        torch.empty(1),
    )


def _mochi() -> Any:
    import torch

    model = _built("MochiTransformer3DModel")
    # Rotary embeddings, which are not counted, are a product of matrices here.
    model.rope.forward = lambda *_, **__: None
    for block in model.transformer_blocks:
        block.attn1.processor = _whole_text
    return model(
        torch.empty(1, 12, 3, 8, 12),
        torch.empty(1, 256, 4096),
        torch.empty(1),
        torch.empty(1, 256, dtype=torch.bool),
    )


def _whole_text(attn: Any, video: Any, encoder_hidden_states: Any, **rest: Any) -> Any:
    """Mochi's processor, for text without padding: the stock one looks for padding in the data."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    own = [layer(video) for layer in (attn.to_q, attn.to_k, attn.to_v)]
    text = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    added = [layer(encoder_hidden_states) for layer in text]
    joint = (torch.cat(pair, dim=1) for pair in zip(own, added, strict=True))
    split = (one.unflatten(2, (attn.heads, -1)).transpose(1, 2) for one in joint)
    out = scaled_dot_product_attention(*split).transpose(1, 2).flatten(2, 3)
    last = out[:, video.shape[1] :]
    text_out = attn.to_add_out(last) if hasattr(attn, "to_add_out") else last
    return attn.to_out[0](out[:, : video.shape[1]]), text_out


CALLS = {"wan2.1-14b": _wan, "hunyuanvideo": _hunyuan, "mochi-1": _mochi}


@pytest.mark.parametrize("name", KNOWN)
def test_a_call_is_what_pytorch_counts(name: str) -> None:
    model = load_model(name)
    assert call_work(model, model.grid(SIZES[name])).total == counted(name)


def test_a_preset_that_does_not_say_is_an_error() -> None:
    assert tuple(name for name in model_names() if load_model(name).steps) == KNOWN
    model = load_model("ltx-video")
    with pytest.raises(GridError, match="the preset of ltx-video does not say what its linear"):
        call_work(model, model.grid(model.example))


def test_a_video_is_the_sum_of_its_steps_calls_and_layers() -> None:
    model, grid = load_model("wan2.1-14b"), TokenGrid(3, 4, 9)
    schedule = Schedule(5, dense_steps=2, dense_layers=3)
    radial, power = (
        compile_mask(load_mask(name), grid, 16, 32) for name in ("radial", "sliding_window")
    )
    call = call_work(model, grid)
    pair = 4 * 40 * 128
    for tables, pairs in (
        ((radial,), radial.pairs),
        ((radial, power), (radial.pairs + power.pairs) / 2),
    ):
        expected = 0.0
        for step in range(5):
            for _ in range(2):
                expected += call.linear + call.other
                for layer in range(40):
                    expected += pair * (grid.seq_len**2 if step < 2 or layer < 3 else pairs)
        assert video_work(model, grid, schedule, tables) == expected
    whole = pair * 2 * (2 * 40 + 3 * 3) * grid.seq_len**2
    visited = pair * 2 * 3 * 37 * radial.nnz * 16 * 32
    assert attention_work(model, grid, schedule, (radial,), visited=True) == whole + visited
    assert video_work(model, grid, schedule) == 5 * 2 * call.total


def test_a_dense_mask_saves_nothing() -> None:
    model, grid = load_model("hunyuanvideo"), TokenGrid(2, 4, 9, text_tokens=5)
    dense = compile_mask(load_mask("dense"), grid)
    for schedule in (Schedule(4), Schedule(4, 4), Schedule(4, 0, 99)):
        assert video_work(model, grid, schedule, (dense,)) == 4 * call_work(model, grid).total
    assert CallWork(1, 2, 4).total == 7


@pytest.mark.parametrize("counts", [(0, 0, 0), (5, 6, 0), (5, -1, 0), (5, 0, -1)])
def test_what_is_no_schedule(counts: tuple[int, int, int]) -> None:
    with pytest.raises(GridError, match="a schedule has at least one step"):
        Schedule(*counts)


def test_longlora_is_windows_and_the_same_windows_rolled_by_half() -> None:
    """As the authors' code has it: the tokens are rolled, and windows attend within themselves."""
    import numpy as np

    grid = TokenGrid(4, 3, 5, text_tokens=3, text_first=True)
    place = np.arange(60)
    for shifted, shift in ((False, 0), (True, 7)):
        window = np.roll(place, shift) // 14
        expected = window[:, None] == window[None, :]
        table = compile_mask(load_mask("longlora", window=14, shifted=shifted), grid, 16, 16)
        assert (table.to_dense()[3:, 3:] == expected).all()
