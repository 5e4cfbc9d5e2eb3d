"""The examples of docs/masks.md mean what is said of them, and compile to it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from radialbench import TokenGrid, compile_mask, load_mask, parse_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.oracle import token_mask
from tests.maskgen.plain import Value, tokens

DOCS = (Path(__file__).parents[2] / "docs" / "masks.md").read_text(encoding="utf-8")
SECTION = DOCS.partition("## Examples")[2].partition("## The library")[0]
EXAMPLES = {
    document["name"]: document
    for document in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL))
}
GRIDS = [
    TokenGrid(5, 6, 7),
    TokenGrid(1, 9, 16),
    TokenGrid(12, 3, 5),
    TokenGrid(4, 5, 8, text_tokens=7, text_valid=4, text_first=True),
]
BLOCK = 16

Token = dict[str, Value]


def axial(q: Token, k: Token, grid: TokenGrid) -> bool:
    """Two of three coordinates are the same."""
    return sum(q[axis] == k[axis] for axis in "tyx") >= 2


def swin(q: Token, k: Token, grid: TokenGrid) -> bool:
    return all(
        window(int(q[axis]), size, 0) == window(int(k[axis]), size, 0)
        for axis, size in zip("tyx", (2, 4, 4), strict=True)
    )


def swin_shifted(q: Token, k: Token, grid: TokenGrid) -> bool:
    return all(
        window(int(q[axis]), size, size // 2) == window(int(k[axis]), size, size // 2)
        for axis, size in zip("tyx", (2, 4, 4), strict=True)
    )


def window(place: int, size: int, shift: int) -> int:
    """Count the borders of windows before a place."""
    return sum(border <= place for border in range(shift or size, 1000, size))


def longnet(q: Token, k: Token, grid: TokenGrid) -> bool:
    a, b = (int(token["i"]) - grid.video_start for token in (q, k))
    return any(
        b in range(a // length * length, (a // length + 1) * length) and {a % step, b % step} == {0}
        for length, step in ((6, 1), (24, 4), (96, 16))
    )


def dinat(q: Token, k: Token, grid: TokenGrid) -> bool:
    sides = grid.frames, grid.height, grid.width
    settings = zip("tyx", sides, (3, 7, 7), (1, 2, 2), strict=True)
    return all(near(int(q[axis]), int(k[axis]), *setting) for axis, *setting in settings)


def near(q: int, k: int, size: int, kernel: int, dilation: int) -> bool:
    """The kernel nearest places of those a step apart, also at the borders."""
    places = list(range(q % dilation, size, dilation))
    kernel = min(kernel, len(places))
    first = min(max(places.index(q) - kernel // 2, 0), len(places) - kernel)
    return k in places[first : first + kernel]


def bigbird(q: Token, k: Token, grid: TokenGrid) -> bool:
    a, b = ((int(token["i"]) - grid.video_start) // BLOCK for token in (q, k))
    chosen = (a * 7919 + b * 104729 + a * b * 31) % 1009 < 0.05 * 1009
    return abs(a - b) <= 1 or 0 in (a, b) or chosen


def ring(q: Token, k: Token, grid: TokenGrid) -> bool:
    steps = min((q["t"] - k["t"]) % grid.frames, (k["t"] - q["t"]) % grid.frames)
    return steps == 0 or (steps <= 4 and (q["s"] - k["s"]) % steps == 0)


def streaming(q: Token, k: Token, grid: TokenGrid) -> bool:
    chunks = q["t"] // 3 - k["t"] // 3
    kept = 0 <= chunks < 4 or (chunks >= 0 and k["t"] < 3)
    return kept and bool(RADIAL[grid][int(q["p"]), int(k["p"])])


RADIAL: dict[TokenGrid, NDArray[np.bool_]] = {grid: token_mask("radial", grid) for grid in GRIDS}


CASES: list[tuple[str, dict[str, Any], Callable[[Token, Token, TokenGrid], bool]]] = [
    ("axial", {}, axial),
    ("swin", {"size": 4}, swin),
    ("swin", {"size": 4, "shifted": True}, swin_shifted),
    ("longnet", {"segment": 6}, longnet),
    ("dinat", {}, dinat),
    ("bigbird", {"block": BLOCK}, bigbird),
    ("ring", {}, ring),
    ("streaming", {}, streaming),
]


def test_every_example_is_tested() -> None:
    assert {name for name, *_ in CASES} | {"semantic"} == set(EXAMPLES)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.label)
@pytest.mark.parametrize(
    ("name", "params", "attends"), CASES, ids=[attends.__name__ for *_, attends in CASES]
)
def test_an_example_means_what_it_says(
    name: str,
    params: dict[str, Any],
    attends: Callable[[Token, Token, TokenGrid], bool],
    grid: TokenGrid,
) -> None:
    spec = parse_mask(EXAMPLES[name]).with_params(**params)
    places = tokens(grid, spec.order_on(grid))
    expected = token_mask(spec, grid)
    for q in places:
        for k in places:
            if not (q["text"] or k["text"]):
                assert expected[int(q["p"]), int(k["p"])] == attends(q, k, grid), (q, k)
    check(spec, grid)


def check(spec: MaskSpec, grid: TokenGrid, **tables: NDArray[np.bool_]) -> None:
    dense = token_mask(spec, grid, tables=tables)
    for block_m, block_n in ((16, 16), (7, 40)):
        table = compile_mask(spec, grid, block_m, block_n, tables=tables)
        assert np.array_equal(table.to_dense(), dense)


def test_windows_in_their_order_are_runs_of_tokens() -> None:
    """The shifted windows of the mask are the tiles of its order."""
    spec = parse_mask(EXAMPLES["swin"]).with_params(size=4, shifted=True)
    dense = token_mask(spec, GRIDS[0])
    inside = np.flatnonzero(np.diff(dense.argmax(axis=1), prepend=-1))
    for first, stop in zip(inside, [*inside[1:], len(dense)], strict=True):
        assert dense[first:stop, first:stop].all()
        assert dense[first:stop].sum() == (stop - first) ** 2


def test_clusters_are_given_at_run_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse_mask(EXAMPLES["semantic"])
    for grid in GRIDS:
        cluster = np.arange(-(-grid.seq_len // 64)) % 2
        same = cluster[:, None] == cluster[None, :]
        dense = token_mask(spec, grid, tables={"clusters": same})
        video = [token for token in tokens(grid, spec.order_on(grid)) if not token["text"]]
        for q in video:
            for k in video:
                a, b = int(q["p"]), int(k["p"])
                assert dense[a, b] == (q["t"] == k["t"] or cluster[a // 64] == cluster[b // 64])
        check(spec, grid, clusters=same)
    (tmp_path / "semantic.yaml").write_text(yaml.safe_dump(EXAMPLES["semantic"]))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["table"].density > found["same"].mean() > 1 / 10


def test_causal_chunks_by_frames() -> None:
    """Frame by frame: own chunk, a window of chunks, sinks; with all chunks it is block-causal."""
    grid = TokenGrid(8, 1, 1)
    spec = load_mask("causal_chunks", chunk=2, window=2, sink_frames=1)
    assert token_mask(spec, grid).astype(int).tolist() == [
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 0, 1, 1, 1, 1, 0, 0],
        [1, 0, 1, 1, 1, 1, 0, 0],
        [1, 0, 0, 0, 1, 1, 1, 1],
        [1, 0, 0, 0, 1, 1, 1, 1],
    ]
    early = load_mask("causal_chunks", chunk=2, window=1, sink_frames=5)
    assert token_mask(early, grid)[0].tolist() == [True] * 2 + [False] * 6
    for whole in (TokenGrid(7, 3, 4), TokenGrid(6, 2, 5, text_tokens=4, text_first=True)):
        every = token_mask(load_mask("causal_chunks", chunk=3, window=9, sink_frames=0), whole)
        assert np.array_equal(every, token_mask(load_mask("block_causal", chunk=3), whole))
