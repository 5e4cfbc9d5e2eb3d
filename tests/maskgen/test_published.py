"""What is known of the published masks: facts that follow from their rules, and printed numbers."""

import math
from itertools import product
from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.errors import SpecError
from radialbench.maskgen.language.spec import MaskSpec

Bool = NDArray[np.bool_]


def sided(word: str, **sides: tuple[int, int, int]) -> MaskSpec:
    """A mask whose parameters of time, height and width are given as one."""
    params = {
        f"{name}_{axis}": size
        for name, sizes in sides.items()
        for axis, size in zip("thw", sizes, strict=True)
    }
    return load_mask(word).with_params(**params)


def frames(count: int, tokens: int, text: int = 0) -> TokenGrid:
    return TokenGrid(count, 1, tokens, text_tokens=text)


def radial_blocks(grid: TokenGrid, preset: str = "hunyuan", **params: float) -> BlockTable:
    """The authors' block mask in blocks of its own size."""
    spec = load_mask("radial_blocks", preset=preset, empty_rows="keep", **params)
    block = int(spec.values["block"])
    return compile_mask(spec, grid, block, block)


def reaches(table: BlockTable, block: int) -> Bool:
    """[frames, frames] whether a frame pair has any block; frames are whole blocks."""
    grid = table.grid
    side = grid.frame_tokens // block
    blocks = table.any_blocks()[: grid.frames * side, : grid.frames * side]
    return np.asarray(blocks.reshape(grid.frames, side, grid.frames, side).any(axis=(1, 3)))


@pytest.mark.parametrize(("block", "spare"), [(128, 22), (64, 11)])
def test_aligned_blocks_are_on_by_their_offset(block: int, spare: int) -> None:
    """Inside a kept pair block offset m is on exactly if m·B - ⌊w⌋ is at most 22 (11)."""
    tokens, frame_count = 8 * block, 3
    octave = 2 ** (tokens.bit_length() - 2)  # The width at distance 2, before decay.
    offset = np.abs(np.arange(8)[:, None] - np.arange(8))
    widths = [m * block - spare + step for m in range(2, 6) for step in (-1, 0, 1)]
    for width in (*widths, block, block + 0.9, 4 * block, 5 * block - 0.25):
        table = radial_blocks(frames(frame_count, tokens), block=block, decay=width / octave)
        pair = table.any_blocks()[:8, 16:]
        np.testing.assert_array_equal(pair, offset * block - int(width) <= spare, f"{width}")


def test_the_least_band_is_tridiagonal() -> None:
    pair = radial_blocks(frames(5, 1024), decay=1e-6).any_blocks()[:8, 32:]
    np.testing.assert_array_equal(pair, np.abs(np.arange(8)[:, None] - np.arange(8)) <= 1)


def kept(tokens: int, most: int) -> list[int]:
    spec, grid = load_mask("radial_published"), frames(most + 1, tokens)
    return [d for d in range(most + 1) if spec.value("kept", grid, dt=d)]


def steps(*ranges: tuple[int, int, int]) -> list[int]:
    return [d for first, stop, step in ranges for d in range(first, stop, step)]


@pytest.mark.parametrize(
    ("tokens", "most", "distances"),
    [
        (3840, 127, steps((0, 32, 1), (32, 64, 2), (64, 128, 4))),
        (2048, 127, steps((0, 32, 1), (32, 64, 2), (64, 128, 4))),
        (1560, 63, steps((0, 16, 1), (16, 32, 2), (32, 64, 4))),
        (880, 31, steps((0, 8, 1), (8, 16, 2), (16, 32, 4))),
        (128, 17, [0, 1, 2, 4, 8, 16]),
        (255, 17, [0, 1, 2, 4, 8, 16]),
        (127, 33, [0]),
        (64, 33, [0]),
        (1, 33, [0]),
    ],
)
def test_kept_distances(tokens: int, most: int, distances: list[int]) -> None:
    assert kept(tokens, most) == distances


@pytest.mark.parametrize("tokens", [128, 200, 600, 1024, 3600])
def test_work_an_octave_is_constant(tokens: int) -> None:
    """min(2^(g-1), 2^(bl(T)-8)) distances of octave [2^(g-1), 2^g): why work grows as n log n."""
    found = kept(tokens, 255)
    for octave in range(1, 9):
        members = [d for d in found if 2 ** (octave - 1) <= d < 2**octave]
        assert len(members) == min(2 ** (octave - 1), 2 ** (tokens.bit_length() - 8))


@pytest.mark.parametrize("tokens", [3600, 3840])
def test_widths(tokens: int) -> None:
    spec, grid = load_mask("radial_published"), frames(33, tokens)
    for distance in range(33):
        octave = distance.bit_length()
        width = tokens if distance < 2 else max(128, 2**12 // 2**octave)
        assert spec.value("reach", grid, dt=distance) == width


@pytest.mark.parametrize(("preset", "sink"), [("wan", True), ("hunyuan", False)])
def test_small_frames_keep_the_diagonal_and_the_sink_only(preset: str, sink: bool) -> None:
    spec = load_mask("radial_published", preset=preset)
    dense = compile_mask(spec, frames(9, 100), 128, 128).to_dense()
    pairs = dense.reshape(9, 100, 9, 100).any(axis=(1, 3))
    expected = np.eye(9, dtype=np.bool_)
    expected[:, 0] |= sink
    np.testing.assert_array_equal(pairs, expected)


def test_decay_changes_widths_and_no_distances() -> None:
    grid = frames(40, 512)
    tables = [radial_blocks(grid, decay=decay) for decay in (0.01, 0.5, 1.2, 4)]
    for table in tables:
        np.testing.assert_array_equal(reaches(table, 128), reaches(tables[0], 128))
    # Below B / 2^(⌊log2 T⌋ - 1) nothing changes any more, as no band is narrower than a block.
    assert tables[0] == tables[1]
    assert tables[0].nnz < tables[2].nnz < tables[3].nnz


def test_aligned_masks_are_symmetric_but_for_the_sink() -> None:
    grid = frames(12, 384)
    blocks = radial_blocks(grid, "hunyuan", decay=0.7).any_blocks()
    np.testing.assert_array_equal(blocks, blocks.T)
    wan = radial_blocks(grid, "wan", decay=0.7).any_blocks()
    np.testing.assert_array_equal(wan[:, 3:], blocks[:, 3:])
    assert wan[:, :3].all()


def test_text_and_the_blocks_it_shares_are_on() -> None:
    grid = frames(3, 100, text=150)  # 300 video tokens: blocks 0 and 1 are video only.
    table = radial_blocks(grid)
    blocks = table.full_blocks()
    assert blocks[2:].all() and blocks[:, 2:].all()
    assert not blocks[:2, :2].all()
    assert not table.partial.nnz
    ragged = radial_blocks(frames(3, 100))  # The third block has 44 tokens and no text.
    assert ragged.full_blocks()[2].all() and ragged.full_blocks()[:, 2].all()
    assert not ragged.partial.nnz


def test_the_published_mask_leaves_rows_empty_on_a_real_size() -> None:
    """Wan2.2-5B at 1280×704×121: 4 of 213 rows of blocks have no key in the video's square."""
    table = radial_blocks(TokenGrid(31, 22, 40), "wan", decay=0.8)
    blocks = table.any_blocks()
    assert blocks.shape == (214, 214)
    empty = ~blocks[:213, :213].any(axis=1)
    assert empty.sum() == 4
    # They attend the ragged last block, which the original does not have.
    assert blocks[:213, 213].all()


def test_rows_without_a_key_are_an_error_unless_the_mask_says_what_to_do() -> None:
    grid = frames(8, 880)  # 55 whole blocks: no ragged block to attend.
    with pytest.raises(SpecError) as error:
        compile_mask(load_mask("radial_blocks:wan", decay=0.8), grid)
    assert str(error.value).startswith(
        "128 of 7,040 tokens would attend nothing on 8x1x880, the first is token 1664 (frame 1, "
        "row 0, column 784); choose empty_rows: own_block (it attends the 128-token block it "
    )
    filled = compile_mask(load_mask("radial_blocks:wan", decay=0.8, empty_rows="own_block"), grid)
    kept = radial_blocks(grid, "wan", decay=0.8)
    assert np.argwhere(filled.any_blocks() & ~kept.any_blocks()).tolist() == [[13, 13]]
    assert not filled.partial.nnz


@pytest.mark.parametrize("tokens", [3600, 1560, 1590, 3840, 1350])
def test_other_sizes_have_no_empty_rows(tokens: int) -> None:
    assert compile_mask(load_mask("radial_blocks:hunyuan", decay=0.2), frames(21, tokens)).nnz


@pytest.mark.parametrize(
    ("preset", "grid", "params", "percent"),
    [
        ("wan", frames(18, 3840), {"decay": 0.2}, 71.3),
        ("wan_prev", frames(18, 3840), {"decay": 0.2}, 73.7),
        ("wan", frames(41, 3600, 112), {}, 74.0),
        ("wan_prev", frames(41, 3600, 112), {}, 75.1),
        ("wan", frames(21, 3600, 48), {"decay": 0.2}, 73.8),
        ("wan", frames(20, 3840), {"decay": 0.8, "block": 64}, 65.1),
        ("wan", frames(20, 3840), {"decay": 0.8}, 64.7),
        ("wan", frames(21, 1560, 8), {"decay": 0.2}, 66.1),
        ("hunyuan", frames(30, 3840, 256), {"decay": 0.95}, 72.5),
        ("hunyuan_first", frames(30, 3840, 256), {"decay": 0.95}, 69.9),
        ("hunyuan", frames(33, 3600, 256), {"decay": 0.95}, 73.0),
        ("hunyuan_first", frames(64, 3600, 256), {}, 80.8),
        ("hunyuan", frames(56, 1590, 256), {}, 78.2),
    ],
)
def test_sparsity_of_published_runs(
    preset: str, grid: TokenGrid, params: dict[str, float], percent: float
) -> None:
    """Blocks left out of the video's square; 80.8 % is also what the paper prints (table 2)."""
    table = radial_blocks(grid, preset, **params)
    video = grid.video_tokens // table.block_m
    off = 1 - table.any_blocks()[:video, :video].mean()
    assert round(100 * float(off), 1) == percent


def tile_counts(
    window: tuple[int, int, int], tiles: tuple[int, int, int], *, exact_even: bool = False
) -> set[int]:
    """How many tiles a query attends; a tile is one token here."""
    spec = sided("sta", tile=(1, 1, 1), window=window).with_params(exact_even=exact_even)
    dense = compile_mask(spec, TokenGrid(*tiles), 16, 16).to_dense()
    return set(dense.sum(axis=1).tolist())


def test_sta_windows_have_their_size_wherever_they_are() -> None:
    for count, window in product(range(1, 8), range(1, 10)):
        odd = min(window, count) if window % 2 or window >= count else min(window + 1, count)
        assert tile_counts((1, 1, window), (1, 1, count)) == {odd}
        exact = {min(window, count)}
        assert tile_counts((1, 1, window), (1, 1, count), exact_even=True) == exact
    assert tile_counts((3, 5, 1), (4, 5, 6)) == {15}
    assert tile_counts((2, 3, 9), (4, 5, 6)) == {3 * 3 * 6}


def test_sta_blocks_of_a_tile_are_never_partial() -> None:
    spec = load_mask("sta", tile_t=2, tile_h=3, tile_w=4, window_h=1)
    table = compile_mask(spec, TokenGrid(8, 9, 12), 24, 24)
    assert not table.partial.nnz
    assert table.density == table.block_density == 3 * 1 * 3 / (4 * 3 * 3)


@pytest.mark.parametrize(("window", "percent"), [((3, 3, 3), 91.00), ((5, 5, 5), 58.33)])
def test_sta_sparsity_of_the_paper(window: tuple[int, int, int], percent: float) -> None:
    """arXiv 2502.04507, kernel table: 30×48×80 tokens in tiles of 6×8×8."""
    table = compile_mask(sided("sta", window=window), TokenGrid(30, 48, 80), 384, 384)
    assert round(100 * (1 - table.density), 2) == percent


def natten(size: int, kernel: int, dilation: int) -> Bool:
    """[size, size] one axis of neighborhood attention, from its definition."""
    mask = np.zeros((size, size), np.bool_)
    for q in range(size):
        same = range(q % dilation, size, dilation)
        first = min(max(q // dilation - kernel // 2, 0), max(len(same) - kernel, 0))
        mask[q, list(same)[first : first + kernel]] = True
    return mask


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (2, 4, 5), (9, 2, 7)])
@pytest.mark.parametrize("dilation", [(1, 1, 1), (2, 1, 3)])
def test_neighborhood_is_nattens(
    kernel: tuple[int, int, int], dilation: tuple[int, int, int]
) -> None:
    sizes = (4, 5, 7)
    spec = sided("neighborhood", kernel=kernel, dilation=dilation)
    dense = compile_mask(spec, TokenGrid(*sizes), 16, 32).to_dense()
    axes = [natten(*one) for one in zip(sizes, kernel, dilation, strict=True)]
    expected = np.einsum("ab,cd,ef->acebdf", *axes).reshape((prod(sizes),) * 2)
    np.testing.assert_array_equal(dense, expected)


def test_neighborhood_that_looks_back_only() -> None:
    spec = load_mask("neighborhood", kernel_t=3, kernel_h=9, kernel_w=9, causal_t=True)
    dense = compile_mask(spec, frames(6, 2), 8, 8).to_dense()
    pairs = dense.reshape(6, 2, 6, 2).all(axis=(1, 3))
    back = np.arange(6)[:, None] - np.arange(6)
    np.testing.assert_array_equal(pairs, (back >= 0) & (back < 3))


def test_power_reaches_powers_of_two() -> None:
    for causal in (False, True):
        spec = load_mask("power", block=4, window=3, sink=2, causal=causal)
        dense = compile_mask(spec, frames(3, 27), 16, 16).to_dense()
        for q, k in product(range(81), repeat=2):
            distance = abs(q // 4 - k // 4)
            near = distance <= 3 or k // 4 < 2 or distance.bit_count() == 1
            assert dense[q, k] == (near and (k <= q or not causal))


def test_sliding_window() -> None:
    spec = load_mask("sliding_window", window=5, sink=3, causal=True)
    dense = compile_mask(spec, frames(4, 9), 8, 8).to_dense()
    q, k = np.mgrid[:36, :36]
    np.testing.assert_array_equal(dense, ((np.abs(q - k) <= 5) | (k < 3)) & (k <= q))


def test_references_in_front_see_themselves_and_are_seen() -> None:
    spec = load_mask("prefix", reference_frames=2)
    dense = compile_mask(spec, frames(7, 6), 8, 8).to_dense()
    assert dense[:, :12].all()
    assert not dense[:12, 12:].any()
    assert dense[12:, 12:18].all()
    # The video alone is radial attention with its own first frame as the sink.
    alone = compile_mask(load_mask("radial"), frames(5, 6), 8, 8).to_dense()
    np.testing.assert_array_equal(dense[12:, 12:], alone)


def test_harmonic_bands_shrink_with_the_distance() -> None:
    dense = compile_mask(load_mask("harmonic", sink_frames=0), frames(8, 24), 16, 16).to_dense()
    for distance in range(8):
        wide = np.abs(np.subtract.outer(np.arange(24), np.arange(24)))
        reach = 24 if distance < 2 else 24 / distance
        pair = dense[:24, distance * 24 :][:, :24]
        np.testing.assert_array_equal(pair, wide + 1 <= reach)


def test_svg_heads_share_one_band_in_two_orders() -> None:
    grid = TokenGrid(6, 5, 7)
    spatial, temporal = (
        compile_mask(load_mask(word, granularity=8, density=0.3), grid, 16, 16)
        for word in ("svg_spatial", "svg_temporal")
    )
    np.testing.assert_array_equal(spatial.to_dense(), temporal.to_dense())
    assert (str(spatial.order), str(temporal.order)) == ("raster", "space_major")
    assert 0.3 < spatial.density < 0.5  # The band aims at 0.3; the sink comes on top.


def test_svg_width_follows_from_the_density() -> None:
    spec = load_mask("svg_spatial", density=0.3)
    assert spec.value("band_frames", frames(21, 3600)) == pytest.approx(3.4301394427844)
    # Less than what text alone takes leaves nothing for the band.
    assert spec.value("band_frames", frames(1, 64, text=256)) < 0
    dense = compile_mask(spec.with_preset("hunyuan"), frames(1, 64, text=256), 64, 64).to_dense()
    assert not dense[:64, :64].any()
    assert dense[:, 64:].all() and dense[64:].all()


@pytest.mark.parametrize("word", ["svg_spatial", "svg_temporal"])
@pytest.mark.parametrize(
    ("preset", "grid"),
    [
        ("hunyuan", TokenGrid(13, 24, 32, text_tokens=256)),
        ("cogvideox", TokenGrid(13, 24, 32, text_tokens=226)),
        ("wan", TokenGrid(21, 30, 52)),
    ],
)
def test_svg_widths_are_rounded_as_the_authors_round(
    word: str, preset: str, grid: TokenGrid
) -> None:
    """Their `sparsity_to_width` and `round_to_multiple`, operation by operation."""
    seq_len, text = grid.seq_len, grid.text_tokens
    for percent in range(5, 101):
        total = seq_len**2
        share = (percent / 100 * total - 2 * seq_len * text) / total
        width = seq_len * (1 - math.sqrt(1 - share)) / grid.frame_tokens
        rounded = math.ceil if preset == "wan" else math.floor
        spec = load_mask(word, preset=preset, density=percent / 100)
        assert spec.value("band_frames", grid) == width
        half_width = rounded(width * grid.frame_tokens / 128) * 128
        assert spec.value("half_width", grid) == half_width
        assert percent != 69 or preset != "hunyuan" or half_width == 4096


def test_chunks_look_back() -> None:
    grid = TokenGrid(7, 1, 4)
    for frames_back in (-1, 0, 1, 4):
        spec = load_mask("block_causal", chunk=3, local_frames=frames_back)
        dense = compile_mask(spec, grid, 8, 8).to_dense()
        for q, k in product(range(28), repeat=2):
            end = (q // 12 + 1) * 12
            start = end - frames_back * 4 if frames_back >= 0 else 0
            assert dense[q, k] == (start <= k < end or q == k)
