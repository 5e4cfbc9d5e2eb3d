"""How blocks and steps are timed, on small transformers and a CPU."""

from typing import Any

import pytest
import torch

from benchmarks import paper_step
from radialbench import TokenGrid
from radialbench.maskgen.grid import load_model
from radialbench.reports.paper_reference import VIDEOS

SMALL: dict[str, dict[str, Any]] = {
    "wan2.1-14b": {"ffn_dim": 64},
    "hunyuanvideo": {"num_refiner_layers": 1, "rope_axes_dim": (2, 6, 8)},
    "mochi-1": {"pooled_projection_dim": 32},
}


class Event:
    """Stands in for a GPU's: a millisecond passes from each one that is recorded to the next."""

    recorded = 0

    def record(self) -> None:
        Event.recorded += 1
        self.at = Event.recorded

    def elapsed_time(self, other: "Event") -> float:
        return float(other.at - self.at)


@pytest.mark.filterwarnings("ignore:In CPU autocast")  # Mochi's rotary embedding asks for float32.
@pytest.mark.parametrize("model", SMALL)
def test_a_dense_kernel_takes_the_place_of_self_attention_alone(model: str) -> None:
    few = paper_step.BUILT[model].few
    heads = {"num_attention_heads": 2, "attention_head_dim": 16}
    transformer = paper_step.build(model, "cpu", **few, **heads, **SMALL[model])
    preset = load_model(model)
    grid = TokenGrid(2, 3, 4, text_tokens=preset.text_tokens)
    given = paper_step.inputs(model, grid, "cpu")
    calls: list[tuple[int, ...]] = []

    def kernel(q: Any, k: Any, v: Any) -> tuple[Any, Any]:
        calls.append(tuple(q.shape))
        scores = q.float() @ k.float().transpose(-1, -2) / q.shape[-1] ** 0.5
        return (scores.softmax(-1) @ v.float()).to(q.dtype), None

    with torch.no_grad():
        (stock,) = transformer(**given)
        watch = paper_step.Watch(Event)  # type: ignore[arg-type]
        for _ in range(2):
            with paper_step.Attends(grid.seq_len, kernel, watch):
                (own,) = transformer(**given)
            watch.end()
    assert calls == [(1, 2, grid.seq_len, 16)] * sum(few.values()) * 2
    assert watch.calls_ms == [sum(few.values())] * 2
    torch.testing.assert_close(own, stock, atol=0.05, rtol=0.05)


def test_a_watch_follows_a_module() -> None:
    watch, module = paper_step.Watch(Event), torch.nn.Linear(2, 2)  # type: ignore[arg-type]
    watch.follow(module)
    for calls in (3, 0, 1):
        for _ in range(calls):
            module(torch.ones(2))
        watch.end()
    assert watch.calls_ms == [3, 0, 1]


def test_a_twin_has_modules_of_its_own_and_the_same_weights() -> None:
    transformer = paper_step.build(
        "wan2.1-14b", "cpu", num_layers=1, num_attention_heads=1, attention_head_dim=16, ffn_dim=32
    )
    other = paper_step.twin(transformer)
    ours, theirs = (dict(one.named_parameters()) for one in (transformer, other))
    assert all(theirs[name] is weight for name, weight in ours.items())
    assert other.blocks[0].attn1.processor is not transformer.blocks[0].attn1.processor
    given = paper_step.inputs("wan2.1-14b", TokenGrid(2, 3, 4), "cpu")
    with torch.no_grad():
        (found,), (same,) = transformer(**given), other(**given)
        found_parts = paper_step.parts("wan2.1-14b", transformer, other, given, step=False)
        ((kind, count, stock, own),) = found_parts
        assert (kind, count) == ("block", 40)
        assert torch.equal(stock(), own())
        ((_, _, stock, own),) = paper_step.parts("wan2.1-14b", transformer, other, given, step=True)
        assert torch.equal(stock()[0], found)
    assert torch.equal(found, same)


def test_blocks_of_all_kinds_are_all_layers() -> None:
    for model, built in paper_step.BUILT.items():
        assert sum(count for _, count in built.kinds.values()) == load_model(model).layers
    assert {video.model for video in VIDEOS} == set(paper_step.BUILT)


def test_what_is_not_finite_is_not_timed() -> None:
    paper_step.check(lambda: torch.ones(2), "a block")
    with pytest.raises(SystemExit, match="a block: the result is not finite"):
        paper_step.check(lambda: (torch.ones(2), torch.tensor([float("nan")])), "a block")
