"""Descriptions of a mask: facts for programs, lines for people, HTML for notebooks."""

import html
from base64 import b64encode
from typing import Any

from radialbench.errors import RadialBenchError, SpecError
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import Model, TokenGrid
from radialbench.maskgen.identity import value_text
from radialbench.maskgen.language.expressions import COORDINATES, SEGMENTS
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.picture import percent, shaded_png
from radialbench.maskgen.table import BlockTable

MOST_STEPS = 8
"""Most values of a part that are listed."""

CELLS = 320
"""Cells along a side of a picture in a notebook."""

EXAMPLE = TokenGrid(16, 12, 20)
"""Grid on which a mask without a grid is drawn."""

Facts = dict[str, Any]


def mask_facts(spec: MaskSpec) -> Facts:
    """Return a mask's name, parameters and parts."""
    return {
        "name": spec.name,
        "about": spec.about,
        "paper": spec.paper,
        "order": spec.order.kind,
        "empty_rows": spec.empty_rows,
        "params": [
            {
                "name": param.name,
                "type": param.kind,
                "value": param.value,
                "default": param.default,
                "bounds": param.bounds,
                "help": param.help,
            }
            for param in spec.params
        ],
        "presets": {preset: dict(values) for preset, values in spec.presets},
        "let": {part: str(tree) for part, tree in spec.let},
        "fingerprint": spec.fingerprint,
    }


def table_facts(table: BlockTable, heads: int, head_dim: int, seconds: float) -> Facts:
    """Return the cost of a mask: its blocks, the operations of one layer, and the compile time."""
    return {
        "seq_len": table.seq_len,
        "q_len": table.q_len,
        "order": str(table.order),
        "pairs": table.pairs,
        "density": table.density,
        "block_m": table.block_m,
        "block_n": table.block_n,
        "blocks": table.nnz,
        "block_density": table.block_density,
        "full": table.full.nnz,
        "partial": table.partial.nnz,
        "bitmaps": len(table.bitmaps),
        "table_bytes": table.nbytes,
        "compile_seconds": seconds,
        "heads": heads,
        "head_dim": head_dim,
        "flops": table.flops(heads, head_dim),
        "executed_flops": table.executed_flops(heads, head_dim),
        "dense_flops": 4 * heads * head_dim * table.q_len * table.k_len,
        "fingerprint": table.fingerprint,
    }


def scene_facts(grid: TokenGrid, model: Model | None, size: str | None) -> Facts:
    """Return the facts of a grid, and its model and size."""
    return {
        "model": model.name if model else None,
        "size": size,
        "grid": grid.label,
        "frames": grid.frames,
        "height": grid.height,
        "width": grid.width,
        "text_tokens": grid.text_tokens,
        "text_first": grid.text_first,
        "text_valid": grid.real_text,
        "query_frames": grid.query_frames,
        "layers": model.layers if model else None,
    }


def part_values(spec: MaskSpec, grid: TokenGrid) -> dict[str, Any]:
    """Return the named parts that are the same for all tokens, or depend on dt alone.

    Returns:
        A part's value, or its values by frame distance: `{"0-1": 1560, "2-3": 780}`.
    """
    values: dict[str, Any] = {}
    for part, _ in spec.let:
        depends = spec.parts[part].names() & {*COORDINATES, *SEGMENTS}
        try:
            if not depends:
                values[part] = _plain(spec.value(part, grid))
            elif depends == {"dt"}:
                steps = [spec.value(part, grid, dt=dt) for dt in range(grid.frames)]
                values[part] = _steps(steps)
        except SpecError:
            # Undefined at some distance that the mask guards against elsewhere.
            continue
    return values


def cost_lines(facts: Facts, model: Model | None) -> list[tuple[str, str]]:
    """Describe the cost of a mask from its `table_facts`: pairs of a heading and a text."""
    all_pairs, flops = facts["q_len"] * facts["seq_len"], facts["flops"]
    every = -(-facts["q_len"] // facts["block_m"]) * -(-facts["seq_len"] // facts["block_n"])
    heads = f"{facts['heads']} head{'s' * (facts['heads'] > 1)} of {facts['head_dim']}"
    layer = f"one of {model.layers} layers" if model else "one layer"
    scale, unit = _unit(facts["dense_flops"])
    times = f", {facts['dense_flops'] / flops:.3g} times the mask's" if flops else ""
    return [
        ("pairs", f"{facts['pairs']:,} of {all_pairs:,}: {percent(facts['density'])}"),
        (
            "blocks",
            f"{facts['blocks']:,} of {every:,}: {percent(facts['block_density'])}, "
            f"{facts['block_m']}×{facts['block_n']} tokens each",
        ),
        (
            "",
            f"{facts['full']:,} full, {facts['partial']:,} partial; "
            f"distinct bitmaps: {facts['bitmaps']:,}",
        ),
        ("table", f"{_bytes(facts['table_bytes'])}, compiled in {facts['compile_seconds']:.2f} s"),
        (
            "attention",
            f"{flops / scale:.3g} {unit} in {layer}, {heads}; "
            f"{facts['executed_flops'] / scale:.3g} in whole blocks",
        ),
        ("dense", f"{facts['dense_flops'] / scale:.3g} {unit}{times}"),
        ("order", facts["order"]),
    ]


def part_lines(spec: MaskSpec, parts: dict[str, Any]) -> list[tuple[str, str]]:
    """Describe a mask's parameters, and parts with values: pairs of a heading and a text."""
    lines = []
    for param in spec.params:
        default = f" (default {value_text(param.default)})" * (param.value != param.default)
        lines.append((param.name, f"{value_text(param.value)}{default}  {param.help}".rstrip()))
    for part, value in parts.items():
        if not isinstance(value, dict):
            lines.append((part, value_text(_six_digits(value))))
            continue
        steps = [
            f"{span.replace('-', '–')}: {value_text(_six_digits(step))}"
            for span, step in value.items()
        ]
        more = ", …" if len(steps) > MOST_STEPS else ""
        lines.append((part, f"by frame distance {', '.join(steps[:MOST_STEPS])}{more}"))
    return lines


def first_sentence(text: str) -> str:
    """Return the first sentence of a text."""
    first, full_stop, _ = text.partition(". ")
    return first + full_stop.strip()


def framed(picture: str, *, plain: bool) -> str:
    """Draw a frame around a picture of text; in ASCII if `plain`."""
    lines = picture.split("\n")
    top, side, bottom = ("+{}+", "|{}|", "+{}+") if plain else ("┌{}┐", "│{}│", "└{}┘")
    rule = ("-" if plain else "─") * len(lines[0])
    return "\n".join([top.format(rule), *map(side.format, lines), bottom.format(rule)])


def scale_line(grid: TokenGrid, side: int, order: TokenOrder) -> str:
    """Describe the cells of a picture with `side` cells along a side."""
    down, across = grid.q_len / side, grid.seq_len / side
    cell = f"{_count(across)} tokens a side"
    if down != across:
        cell = f"{_count(down)} queries and {_count(across)} keys"
    return (
        f"queries down, keys across, in {order} order; a cell has {cell}, "
        f"a frame {grid.frame_tokens / across:.3g} cells"
    )


def _count(mean: float) -> str:
    """Format a mean of a count: 3.69, 524, 1,200."""
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}"


def table_html(table: BlockTable) -> str:
    """Return a table as HTML: its picture and its facts."""
    is_part = table.q_len < table.k_len
    facts = {
        "grid": table.grid.label.replace("x", "×"),
        "tokens": f"{table.seq_len:,}" + f", {table.q_len:,} queries" * is_part,
        "pairs": f"{table.pairs:,} ({table.density:.1%})",
        "blocks": f"{table.block_m}×{table.block_n}",
        "full": f"{table.full.nnz:,}",
        "partial": f"{table.partial.nnz:,}",
        "visited": f"{table.block_density:.1%} of the blocks",
        "bitmaps": f"{len(table.bitmaps):,}",
        "table": f"{table.nbytes / 2**20:.3g} MiB",
    }
    body = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return _side_by_side(_picture(table), f"<table>{body}</table>")


def spec_html(spec: MaskSpec) -> str:
    """Return a mask as HTML: its picture on a small grid, if it compiles there, and its file."""
    try:
        table = compile_mask(spec, EXAMPLE)
        grid = EXAMPLE.label.replace("x", "×")
        caption = f"{grid} tokens, {table.density:.1%} of the pairs"
        picture = (
            f"<figure style='margin:0'>{_picture(table)}<figcaption>{caption}</figcaption></figure>"
        )
    except RadialBenchError as error:
        picture = f"<p>Not drawn at {EXAMPLE.label}: {html.escape(str(error))}</p>"
    return _side_by_side(picture, f"<pre>{html.escape(spec.to_yaml())}</pre>")


def _side_by_side(*parts: str) -> str:
    style = "display:flex;gap:1.5em;align-items:start;flex-wrap:wrap"
    return f"<div style='{style}'>{''.join(parts)}</div>"


def _steps(values: list[float | bool]) -> dict[str, float | bool]:
    """Return values by distance; neighbours with equal values form one span."""
    steps: dict[str, float | bool] = {}
    first = 0
    for dt, value in enumerate(values):
        if dt + 1 == len(values) or values[dt + 1] != value:
            steps[f"{first}-{dt}" if dt > first else f"{dt}"] = _plain(value)
            first = dt + 1
    return steps


def _six_digits(value: float | bool) -> float | bool:
    """Round a computed value for people; parameters and whole numbers keep all digits."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _plain(value: float | bool) -> float | bool:
    return int(value) if not isinstance(value, bool) and value == int(value) else value


def _unit(flops: int) -> tuple[float, str]:
    for scale, unit in ((1e15, "PFLOPs"), (1e12, "TFLOPs"), (1e9, "GFLOPs")):
        if flops >= scale / 20:
            return scale, unit
    return 1e6, "MFLOPs"


def _bytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def _picture(table: BlockTable) -> str:
    source = b64encode(shaded_png(table, CELLS)).decode()
    return (
        f"<img width='{CELLS}' style='background:#fff;border:1px solid #999' "
        f"alt='Mask; queries down, keys across' src='data:image/png;base64,{source}'>"
    )
