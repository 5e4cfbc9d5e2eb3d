"""The benchmark of tables made on a GPU: its `mask_mod` are the masks, and its table tells aims."""

from typing import Any

import pytest
from torch.nn.attention.flex_attention import create_block_mask

from benchmarks.compile_gpu import (
    CPU,
    CREATE,
    GPU,
    MaskTime,
    compile_gpu_table,
    flex_arguments,
    has_blocks,
    masks,
)
from radialbench import TokenGrid, compile_mask
from radialbench.records.measurement import Measurement
from tests.records.sample import ENVIRONMENT

GRID = TokenGrid(5, 13, 20)


@pytest.mark.parametrize("name", masks())
def test_its_mask_mod_is_the_mask(name: str) -> None:
    mask = masks()[name]
    made = create_block_mask(**flex_arguments(mask, GRID, "cpu"))
    assert has_blocks(compile_mask(mask, GRID), made)
    assert not has_blocks(compile_mask("svg_spatial", GRID), made)


def timed(frames: int, maker: str, ms: float) -> MaskTime:
    when: dict[str, Any] = {"environment": ENVIRONMENT, "created": "2026-11-30T00:00:00+00:00"}
    timing = Measurement((ms,) * 3, 1, "warm", "perf_counter", None)
    return MaskTime(
        mask="cone",
        frames=frames,
        tokens=3600 * frames,
        maker=maker,
        first_ms=1234.5,
        blocks=9,
        agrees=maker != CREATE,
        timing=timing,
        **when,
    )


def test_the_table_has_the_aims_and_what_is_missing() -> None:
    times = [timed(21, GPU, 20.0), timed(21, CREATE, 15.0), timed(21, CPU, 30.0)]
    times += [timed(161, GPU, 401.0)]
    lines = compile_gpu_table(times).splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["75,600", "cone", "9", "20.0", "1,234", "15.0", "1,234", "30.0", "20", "yes", "**no**"],
        ["579,600", "cone", "9", "401.0", "1,234", "–", "–", "–", "400", "**no**", "yes"],
    ]
