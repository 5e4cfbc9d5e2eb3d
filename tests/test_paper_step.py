"""How blocks are timed, on small transformers and a CPU."""

from typing import Any

import pytest
import torch

from benchmarks import paper_step
from radialbench import TokenGrid
from radialbench.integrations.attending import twin
from radialbench.maskgen.grid import load_model
from radialbench.reports.paper_reference import VIDEOS


def wan() -> Any:
    return paper_step.build(
        "wan2.1-14b", "cpu", num_layers=1, num_attention_heads=1, attention_head_dim=16, ffn_dim=32
    )


def test_a_part_is_the_block_in_both_transformers() -> None:
    transformer = wan()
    other = twin(transformer)
    given = paper_step.inputs(transformer, TokenGrid(2, 3, 4))
    with torch.no_grad():
        ((kind, count, stock, own),) = paper_step.parts("wan2.1-14b", transformer, other, given)
        assert (kind, count) == ("block", 40)
        assert torch.equal(stock(), own())


def test_blocks_of_all_kinds_are_all_layers() -> None:
    for model, built in paper_step.BUILT.items():
        assert sum(count for _, count in built.kinds.values()) == load_model(model).layers
    assert {video.model for video in VIDEOS} == set(paper_step.BUILT)


def test_what_is_not_finite_is_not_timed() -> None:
    paper_step.check(lambda: torch.ones(2), "a block")
    with pytest.raises(SystemExit, match="a block: the result is not finite"):
        paper_step.check(lambda: (torch.ones(2), torch.tensor([float("nan")])), "a block")
