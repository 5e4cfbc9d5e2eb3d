"""Masks compiled by the kernel that evaluates all pairs: the tables are the CPU's to the bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radialbench import TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.kernels.triton import mask_blocks
from tests.maskgen.random_masks import BLOCKS, GIVEN, SEGMENT_RULES, Maker

SEEDS = st.integers(0, 2**63)
INTERPRETED = not torch.cuda.is_available()

RULES = [
    "dy**2 + dx**2 <= 64 and dt <= 4 or kt == 0",
    "sqrt(dy**2 + dx**2 + 4*dt**2) <= 12",
    "(qs + ks) % 7 == 0 and dt <= 3 or ds == 0",
    "abs((qy - ky) * 2 - (qt - kt) * 3) <= 4 or di == 0",
    "(qx * 0.3 - ky) // 0.7 % 2.5 < max(dt, qs * 0.1)",
    "where(qy > kx, min(qt, ks), qx / max(ky, 1)) != dx",
]


def check(seed: int) -> None:
    make = Maker(seed)
    mapping, grid = make.mask(make.random.randint(0, 1)), make.grid()
    if make.random.random() < 0.3:
        grid = make.segments()
        mapping |= {"text": make.pick(SEGMENT_RULES), "pairs": make.pairs(grid)}
    blocks = make.pick(BLOCKS), make.pick(BLOCKS)
    spec = parse_mask(mapping)
    expected = compile_mask(spec, grid, *blocks)
    # Those of one pair of groups of each kind, in parts; or all pairs of blocks at once.
    limits = [make.random.choice((0, 9000))]
    if not INTERPRETED or expected.rows * expected.columns <= 100:
        limits.append(mask_blocks.MAX_BYTES)
    for most in limits:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mask_blocks, "MAX_BYTES", most)
            table = compile_mask(spec, grid, *blocks, device="cuda")
        assert table == expected, (mapping, grid, blocks, most)


@pytest.mark.skipif(not INTERPRETED, reason="run on the GPU below")
@settings(GIVEN, max_examples=25)
@given(seed=SEEDS)
def test_interpreted(seed: int) -> None:
    check(seed)


@pytest.mark.gpu
@settings(GIVEN, max_examples=40)
@given(seed=SEEDS)
def test_on_a_gpu(seed: int) -> None:
    check(seed)


@pytest.mark.gpu
@pytest.mark.parametrize("rule", RULES)
def test_long_sequences(rule: str) -> None:
    spec, grid = parse_mask({"name": "rule", "mask": rule}), TokenGrid(9, 13, 40, text_tokens=77)
    assert compile_mask(spec, grid, device="cuda") == compile_mask(spec, grid)


def test_a_rule_for_the_cpu() -> None:
    spec = parse_mask({"name": "power", "mask": "2**(qx - ky) <= 4", "empty_rows": "keep"})
    grid = TokenGrid(2, 3, 5)
    assert compile_mask(spec, grid, 16, 16, device="cuda") == compile_mask(spec, grid, 16, 16)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="unknown device 'gpu'; did you mean 'cpu'"):
        compile_mask(load_mask("dense"), TokenGrid(1, 2, 3), device="gpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("triton.knobs.runtime.interpret", False)
    with pytest.raises(SpecError, match="PyTorch finds no GPU here; 'cpu' makes the same table"):
        compile_mask(load_mask("dense"), TokenGrid(1, 2, 3), device="cuda")
