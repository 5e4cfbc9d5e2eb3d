"""Time how long masks take to compile on a GPU, beside FlexAttention and the CPU.

    python -m benchmarks.compile_gpu -o benchmarks/results/compile_gpu.jsonl   # two minutes, H200
    python -m benchmarks.pages performance                                     # their table

The rules of `benchmarks/rules` and `radial`, at 75,600 and at 579,600 tokens (21 and 161 latent
frames of 720p), in blocks of 128×128. FlexAttention's `create_block_mask` is compiled by
`torch.compile` with a `mask_mod` written from the same rule; it evaluates every pair of tokens.
Every table is compared with the CPU's. Lines are added to the file.
"""

import argparse
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import create_block_mask

from benchmarks.parts import RESULTS, Timed, measured_here, read_lines, source_of
from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.maskgen.compiler.bind import bind
from radialbench.maskgen.language.expressions import COMPARISONS, Expr
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.language.tree import TokenRule
from radialbench.records.measurement import Measurement
from radialbench.records.store import append
from radialbench.reports.text import EMPTY_CELL, markdown_table

STORED = RESULTS / "compile_gpu.jsonl"
RULES = Path(__file__).parent / "rules"
BLOCK = 128
AIMS_MS = {21: 20, 161: 400}
"""Milliseconds that a table should take at most on a GPU, by latent frames of 720p."""

CALLS, SECONDS = 9, 2.0
"""Calls after the first, and the time after which no more are begun."""

GPU, CREATE, CPU = "cuda", "create_block_mask", "cpu"
EVERY_PAIR = ("cone", "radial")
"""Masks that `create_block_mask` gets at the greater length: it takes as long for every mask."""

OPERATIONS = {
    **{op: f"({{}} {op} {{}})" for op in ("+", "-", "*", "/", "//", "%", "**", *COMPARISONS)},
    "and": "({} & {})",
    "or": "({} | {})",
    "not": "(~{})",
    "neg": "(-{})",
    "where": "torch.where({}, {}, {})",
    "min": "torch.clamp({}, max={})",
    "max": "torch.clamp({}, min={})",
    **{
        function: f"torch.{function}({{}})" for function in ("abs", "floor", "ceil", "sqrt", "log2")
    },
}
"""The operators as a `mask_mod` has them; `min` and `max` with a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskTime(Timed):
    """The time of a table.

    Attributes:
        mask: The mask.
        frames: Latent frames of 720p.
        tokens: Length of the sequence.
        maker: `cuda` and `cpu`, devices of `compile_mask`; or `create_block_mask`.
        first_ms: The first call in its process, which compiles a kernel.
        blocks: Blocks with a pair that attends.
        agrees: Whether it has the blocks of the CPU's table; with `compile_mask`, every bit.
    """

    mask: str
    frames: int
    tokens: int
    maker: str
    first_ms: float
    blocks: int
    agrees: bool


def main() -> int:
    """Measure, append records and print their table."""
    parser = argparse.ArgumentParser(description="Time how long masks take to compile on a GPU.")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a CUDA device")
        return 2
    times = []
    for time in measured():
        append(options.out, time)
        times.append(time)
    print(compile_gpu_table(times))
    return 0 if all(time.agrees for time in times) else 1


def masks() -> dict[str, MaskSpec]:
    """Return the masks by name."""
    rules = {path.stem: load_mask(path) for path in sorted(RULES.glob("*.yaml"))}
    return rules | {"radial": load_mask("radial")}


def measured() -> Iterator[MaskTime]:
    """Time every mask at both lengths."""
    for frames in AIMS_MS:
        for name, mask in masks().items():
            grid = TokenGrid(frames, 45, 80)
            expected = compile_mask(mask, grid)
            time = partial(timed, name, grid, blocks=expected.nnz)
            for device in (GPU, CPU):
                made = partial(compile_mask, mask, grid, device=device)
                yield time(device, made, expected.__eq__)
            if frames == min(AIMS_MS) or name in EVERY_PAIR:
                torch.compiler.reset()
                compiled: Any = torch.compile(create_block_mask, dynamic=False)
                create = partial(compiled, **flex_arguments(mask, grid))
                try:
                    yield time(CREATE, create, partial(has_blocks, expected))
                except RuntimeError as error:
                    print(f"{name}, {frames} frames: {CREATE}: {str(error)[:300]}", flush=True)
                torch.cuda.empty_cache()


def timed(
    mask: str,
    grid: TokenGrid,
    maker: str,
    call: Callable[[], Any],
    agrees: Callable[[Any], bool],
    blocks: int,
) -> MaskTime:
    """Call until there are enough samples, and compare what the first call returns."""

    def sample() -> tuple[Any, float]:
        torch.cuda.synchronize()
        start = perf_counter()
        made = call()
        torch.cuda.synchronize()
        return made, (perf_counter() - start) * 1e3

    made, first_ms = sample()
    same = agrees(made)
    del made
    samples = [sample()[1]]
    while len(samples) < CALLS and sum(samples) < SECONDS * 1e3:
        samples.append(sample()[1])
    print(f"{mask:14} {grid.frames:4} {maker:18} {samples[-1]:9.1f} {same}", flush=True)
    return MaskTime(
        mask=mask,
        frames=grid.frames,
        tokens=grid.seq_len,
        maker=maker,
        first_ms=first_ms,
        blocks=blocks,
        agrees=same,
        timing=Measurement(tuple(samples), 1, "warm", "perf_counter", None),
        **measured_here("benchmarks.compile_gpu"),
    )


def flex_arguments(mask: MaskSpec, grid: TokenGrid, device: str = "cuda") -> dict[str, Any]:
    """Return the arguments of `create_block_mask` for a mask."""
    return {
        "mask_mod": mask_mod(mask, grid, device),
        "B": None,
        "H": None,
        "Q_LEN": grid.seq_len,
        "KV_LEN": grid.seq_len,
        "device": device,
        "BLOCK_SIZE": BLOCK,
    }


def mask_mod(mask: MaskSpec, grid: TokenGrid, device: str) -> Any:
    """Write a mask of one rule as a `mask_mod`, in whole numbers and float32, as people would."""
    bound = bind(mask, grid)
    assert isinstance(bound.mask, TokenRule)
    rule = bound.mask.expression
    lines = []
    for side in "qk":
        place = side
        if bound.order.kind != "raster":
            lines.append(f"{side}i = index[{side}]")
            place = f"{side}i"
        lines += [
            f"{side}t, {side}s = {place} // {grid.frame_tokens}, {place} % {grid.frame_tokens}",
            f"{side}y, {side}x = {side}s // {grid.width}, {side}s % {grid.width}",
        ]
    lines += [f"r{axis} = q{axis} - k{axis}" for axis in "tsyx"]
    lines.append("ri = qi - ki" if bound.order.kind != "raster" else "ri = q - k")
    texts: dict[Expr, str] = {}
    for node in rule.walk():
        if node.args:
            lines.append(
                f"v{len(texts)} = {OPERATIONS[node.op].format(*map(texts.get, node.args))}"
            )
            texts[node] = f"v{len(texts)}"
        else:
            whole = isinstance(node.value, float) and node.value == int(node.value)
            texts[node] = str(int(node.value) if whole else node.value)  # type: ignore[arg-type]
    body = "\n    ".join([*lines, f"return {texts[rule]}"])
    source = f"def make(index):\n  def mask_mod(b, h, q, k):\n    {body}\n  return mask_mod\n"
    name = f"<mask_mod {mask.name} {grid.label}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    index = torch.from_numpy(bound.order.source_index(grid).copy()).to(device)
    scope: dict[str, Any] = {"torch": torch, "__name__": __name__}
    exec(compile(source, name, "exec"), scope)
    return scope["make"](index)


def has_blocks(table: BlockTable, made: Any) -> bool:
    """Return whether a `BlockMask` visits the blocks of a table."""
    found = made.to_dense()[0, 0].bool().cpu().numpy()
    expected = np.zeros(found.shape, np.bool_)
    for blocks in (table.full, table.partial):
        expected[blocks.rows, blocks.indices] = True
    return bool(np.array_equal(found, expected))


def compile_gpu_table(times: Sequence[MaskTime]) -> str:
    """Format each mask's times: later calls' median, and the first call's."""
    by_case = {(time.frames, time.mask, time.maker): time for time in times}
    rows = []
    for frames, name in dict.fromkeys((time.frames, time.mask) for time in times):
        made = {maker: by_case.get((frames, name, maker)) for maker in (GPU, CREATE, CPU)}
        ours = made[GPU]
        assert ours is not None
        met = ours.timing.median_ms <= AIMS_MS[frames]
        cells = [f"{ours.tokens:,}", name, f"{ours.blocks:,}"]
        for maker in (GPU, CREATE, CPU):
            time = made[maker]
            cells.append(f"{time.timing.median_ms:.1f}" if time else EMPTY_CELL)
            if maker != CPU:
                cells.append(f"{time.first_ms:,.0f}" if time else EMPTY_CELL)
        agrees = all(time.agrees for time in made.values() if time)
        rows.append([*cells, str(AIMS_MS[frames]), *map(as_word, (met, agrees))])
    headings = (
        *("tokens", "mask", "blocks", "GPU ms", "first", "create_block_mask ms", "first"),
        *("CPU ms", "aim ms", "met", "equal"),
    )
    return markdown_table(headings, rows, text_columns=2)


def as_word(good: bool) -> str:
    """Return a table's word for whether something is as it should be."""
    return "yes" if good else "**no**"


INTRODUCTION = """\
`compile_mask(…, device="cuda")` beside FlexAttention's `create_block_mask` under `torch.compile`,
whose `mask_mod` is written from the same rule, and beside the CPU of the same machine, in one run:
the median of later calls, and the first call, which compiles a kernel unless Triton's cache has it.
`create_block_mask` stores no bits of partial blocks, and evaluates every pair of tokens whatever
the rule.
"""


def parts() -> dict[str, str]:
    """Return the generated part of docs/performance.md; empty without records."""
    if not STORED.exists():
        return {"compile_gpu": ""}
    times = read_lines(STORED, MaskTime)
    table = compile_gpu_table(times)
    return {"compile_gpu": f"{INTRODUCTION}\n{table}\n\n{source_of(times[-1])}"}


if __name__ == "__main__":
    sys.exit(main())
