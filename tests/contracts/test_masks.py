"""What every mask of the library promises; a new YAML file is covered by being there."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from radialbench import TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.maskgen.identity import value_text
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.language.tree import BlockInput, MaskNode
from radialbench.maskgen.library import FOLDER, mask_names
from radialbench.maskgen.oracle import token_mask

Bool = NDArray[np.bool_]

BLOCKS = [(16, 16), (7, 40), (32, 64), (1, 1), (33, 5), (128, 128)]
GRIDS = [
    TokenGrid(5, 4, 9),
    TokenGrid(1, 1, 1),
    TokenGrid(9, 1, 11),
    TokenGrid(4, 3, 6, text_tokens=10, text_valid=4),
    TokenGrid(3, 4, 5, text_tokens=6, text_first=True),
    TokenGrid(2, 2, 11, text_tokens=9, text_valid=2, text_first=True),
    TokenGrid(2, 3, 4, text_tokens=5, text_valid=0),
]
"""Frames of 1 to 36 tokens: none is a multiple of a block."""

SMALL: dict[str, dict[str, Any]] = {
    "causal_chunks": {"chunk": 2, "window": 1, "sink_frames": 1},
    "longlora": {"window": 23, "shifted": True},
    "neighborhood": {"kernel_t": 3, "kernel_h": 4, "kernel_w": 3, "dilation_w": 2},
    "neighborhood_gym": {"kernel_w": 2, "kernel_h": 3},
    "power": {"block": 5, "window": 1},
    "radial_blocks": {"block": 16},
    "radial_or_table": {"block": 11},
    "radial_published": {"block": 3},
    "sliding_window": {"window": 9, "sink": 4},
    "sta": {"tile_t": 2, "tile_h": 2, "tile_w": 3, "window_h": 2},
    "svg_blocks": {"width_frames": 0.7},
    "svg_profile": {"block": 16},
    "svg_spatial": {"granularity": 16},
    "svg_temporal": {"granularity": 16},
}
"""Parameters that fit small grids, where the defaults would attend everything."""

every_mask = pytest.mark.parametrize("word", mask_names())
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.label)


def versions(word: str) -> Iterator[MaskSpec]:
    """The mask with parameters for small grids, as it is, and with each preset."""
    spec, small = load_mask(word, empty_rows="keep"), SMALL.get(word, {})
    yield spec.with_params(**small)
    if small:
        yield spec
        yield load_mask(word, empty_rows="own_block", **small)
    for preset, _ in spec.presets:
        yield spec.with_preset(preset).with_params(**small)


def tables_of(spec: MaskSpec, grid: TokenGrid) -> dict[str, Bool]:
    """A random table under each name the mask asks for."""
    generator = np.random.default_rng(0)
    return {
        node.name: generator.random((blocks_of(spec, node, grid),) * 2) < 0.3
        for node in given(spec.mask)
    }


def blocks_of(spec: MaskSpec, node: BlockInput, grid: TokenGrid) -> int:
    return -(-grid.seq_len // int(spec.value(str(node.block), grid)))


def given(node: MaskNode) -> list[BlockInput]:
    if isinstance(node, BlockInput):
        return [node]
    parts = getattr(node, "parts", ())
    return [found for part in parts for found in given(part)]


@every_mask
@every_grid
def test_table_is_the_oracle_in_blocks_of_any_size(word: str, grid: TokenGrid) -> None:
    for place, spec in enumerate(versions(word)):
        tables = tables_of(spec, grid)
        expected = token_mask(spec, grid, tables=tables)
        # Presets set parameters, which have nothing to do with the kernel's blocks.
        for block_m, block_n in BLOCKS if place == 0 else BLOCKS[:2]:
            table = compile_mask(spec, grid, block_m, block_n, tables=tables)
            wrong = int((table.to_dense() != expected).sum())
            assert not wrong, f"{wrong} pairs of {spec.label} in {block_m}×{block_n}"
            assert table.order == spec.order_on(grid)


@every_mask
def test_says_what_it_is(word: str) -> None:
    spec = load_mask(word)
    assert spec.name == word
    assert spec.about
    assert spec.paper or word == "dense"
    assert all(param.help for param in spec.params)


@every_mask
def test_is_a_file_people_can_read(word: str) -> None:
    text = (FOLDER / f"{word}.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"name: {word}\n")
    assert text.endswith("\n")
    assert list(yaml.safe_load(text)) == [
        key
        for key in (
            *("name", "paper", "about", "order", "params", "presets"),
            *("let", "mask", "text", "empty_rows"),
        )
        if key in yaml.safe_load(text)
    ]


@every_mask
def test_writes_and_reads_back(word: str) -> None:
    for spec in versions(word):
        again = parse_mask(yaml.safe_load(spec.to_yaml()))
        assert again == spec
        assert again.fingerprint == spec.fingerprint


@every_mask
def test_parameters_change_the_fingerprint_and_the_label(word: str) -> None:
    spec = load_mask(word)
    for place, param in enumerate(spec.params):
        other: Any = not param.value
        if param.kind != "bool":
            # Half of it is within all bounds; where that is the same, or not whole, one more is.
            other = param.value / 2 or 1
            other = other if param.kind == "float" else int(param.value) + 1
        changed = spec.with_params(**{param.name: other})
        assert changed.fingerprint != spec.fingerprint, param.name
        assert changed.label == f"{word}({param.name}={value_text(changed.params[place].value)})"


@every_mask
def test_real_text_attends_and_is_attended_fully(word: str) -> None:
    """Unless the mask says otherwise, and then its file says so."""
    spec = load_mask(word, empty_rows="keep")
    for grid in GRIDS:
        dense = compile_mask(spec, grid, 16, 16, tables=tables_of(spec, grid)).to_dense()
        start, real = grid.text_start, grid.text_start + grid.real_text
        video = slice(grid.video_start, grid.video_start + grid.video_tokens)
        assert dense[video, start:real].all()
        assert dense[start:real, video].all()
        assert dense[start:real, start:real].all()
        padding = slice(real, grid.text_start + grid.text_tokens)
        if "text" not in yaml.safe_load((FOLDER / f"{word}.yaml").read_text(encoding="utf-8")):
            assert not dense[:, padding].any()


def test_the_union_with_a_table_given_at_run_time() -> None:
    grid = TokenGrid(5, 4, 9, text_tokens=6)
    spec = load_mask("radial_or_table", block=16)
    chosen = np.random.default_rng(1).random((12, 12)) < 0.2
    radial = compile_mask(load_mask("radial"), grid, 32, 32).to_dense()
    blown_up = chosen.repeat(16, axis=0).repeat(16, axis=1)[: grid.seq_len, : grid.seq_len]
    video = np.arange(grid.seq_len) < grid.video_tokens
    blown_up &= video[:, None] & video[None, :]
    for block_m, block_n in BLOCKS:
        table = compile_mask(spec, grid, block_m, block_n, tables={"selected": chosen})
        np.testing.assert_array_equal(table.to_dense(), radial | blown_up)
    none = np.zeros((12, 12), np.bool_)
    nothing_more = compile_mask(spec, grid, 32, 32, tables={"selected": none})
    np.testing.assert_array_equal(nothing_more.to_dense(), radial)
