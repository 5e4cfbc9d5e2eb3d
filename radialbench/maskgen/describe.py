"""What there is to say about a mask: facts for programs, lines for people, HTML for notebooks."""

import html
from base64 import b64encode
from typing import Any

from radialbench.errors import RadialBenchError, SpecError
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import Model, TokenGrid
from radialbench.maskgen.language.expressions import COORDINATES, SEGMENTS
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.picture import percent, shaded_png
from radialbench.maskgen.table import BlockTable

MOST_STEPS = 8
"""Values of a part that are listed before the rest is left out."""

CELLS = 320
"""Cells along the side of a picture in a notebook."""

EXAMPLE = TokenGrid(16, 12, 20)
"""Where a mask without a grid is shown."""

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
    """Return what a mask costs: its blocks, and the operations of one layer's attention.

    Args:
        table: The mask on a grid.
        heads: Attention heads.
        head_dim: Numbers per head and token.
        seconds: Time that compiling took.
    """
    return {
        "seq_len": table.seq_len,
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
        "dense_flops": 4 * heads * head_dim * table.seq_len**2,
        "fingerprint": table.fingerprint,
    }


def scene_facts(grid: TokenGrid, model: Model | None, size: str | None) -> Facts:
    """Return the grid, and the model and size that it is of."""
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
        "layers": model.layers if model else None,
    }


def part_values(spec: MaskSpec, grid: TokenGrid) -> dict[str, Any]:
    """Return the named parts that are the same for all tokens, or that follow from dt alone.

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
    """Describe what a mask costs, from its `table_facts`: lines with a word in front."""
    all_pairs, flops = facts["seq_len"] ** 2, facts["flops"]
    every = -(-facts["seq_len"] // facts["block_m"]) * -(-facts["seq_len"] // facts["block_n"])
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
    """Describe a mask's parameters, and the parts that have a value: lines with a word in front."""
    lines = []
    for param in spec.params:
        changed = (
            "" if param.value == param.default else f" (default {format_value(param.default)})"
        )
        lines.append((param.name, f"{format_value(param.value)}{changed}  {param.help}".rstrip()))
    for part, value in parts.items():
        if not isinstance(value, dict):
            lines.append((part, format_value(value)))
            continue
        steps = list(value.items())
        shown = [
            f"{span.replace('-', '–')}: {format_value(step)}" for span, step in steps[:MOST_STEPS]
        ]
        more = ", …" if len(steps) > MOST_STEPS else ""
        lines.append((part, f"by frame distance {', '.join(shown)}{more}"))
    return lines


def format_value(value: float | bool) -> str:
    """Write a parameter's value as people and `--set` do."""
    return str(value).lower() if isinstance(value, bool) else f"{value:,.6g}".replace(",", "")


def first_sentence(text: str) -> str:
    """Return the first sentence of a text."""
    first, full_stop, _ = text.partition(". ")
    return first + full_stop.strip()


def framed(picture: str, *, plain: bool) -> str:
    """Draw a frame around a picture of text; in ASCII, if it is to be plain."""
    lines = picture.split("\n")
    top, side, bottom = ("+{}+", "|{}|", "+{}+") if plain else ("┌{}┐", "│{}│", "└{}┘")
    rule = ("-" if plain else "─") * len(lines[0])
    return "\n".join([top.format(rule), *map(side.format, lines), bottom.format(rule)])


def scale_line(grid: TokenGrid, side: int, order: TokenOrder) -> str:
    """Describe the cells of a picture, of which there are so many along a side."""
    frame = grid.frame_tokens * side / grid.seq_len
    return (
        f"queries down, keys across, in {order} order; a cell has {grid.seq_len / side:.6g} "
        f"tokens a side, a frame {frame:.3g} cells"
    )


def table_html(table: BlockTable) -> str:
    """Show a table: its picture, and what it holds."""
    facts = {
        "grid": table.grid.label.replace("x", "×"),
        "tokens": f"{table.seq_len:,}",
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
    return (
        "<div style='display:flex;gap:1.5em;align-items:start;flex-wrap:wrap'>"
        f"{_picture(table)}<table>{body}</table></div>"
    )


def spec_html(spec: MaskSpec) -> str:
    """Show a mask: its picture on a small grid, if it has one there, and its file."""
    picture = ""
    try:
        table = compile_mask(spec, EXAMPLE)
        grid = EXAMPLE.label.replace("x", "×")
        caption = f"{grid} tokens, {table.density:.1%} of the pairs"
        picture = (
            f"<figure style='margin:0'>{_picture(table)}<figcaption>{caption}</figcaption></figure>"
        )
    except RadialBenchError as error:
        picture = f"<p>Not drawn at {EXAMPLE.label}: {html.escape(str(error))}</p>"
    return (
        "<div style='display:flex;gap:1.5em;align-items:start;flex-wrap:wrap'>"
        f"{picture}<pre>{html.escape(spec.to_yaml())}</pre></div>"
    )


def _steps(values: list[float | bool]) -> dict[str, float | bool]:
    """Values by distance, equal neighbours taken together."""
    steps: dict[str, float | bool] = {}
    first = 0
    for dt, value in enumerate(values):
        if dt + 1 == len(values) or values[dt + 1] != value:
            steps[f"{first}-{dt}" if dt > first else f"{dt}"] = _plain(value)
            first = dt + 1
    return steps


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
