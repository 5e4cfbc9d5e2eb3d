"""What there is to say about a mask: facts for programs, lines for people."""

from typing import TYPE_CHECKING, Any

from radialbench.cli._options import Scene

if TYPE_CHECKING:
    from radialbench.maskgen.spec import MaskSpec
    from radialbench.maskgen.table import BlockTable

MOST_STEPS = 8
"""Values of a part that are listed before the rest is left out."""

Facts = dict[str, Any]


def mask_facts(spec: "MaskSpec") -> Facts:
    """Tell a mask's name, parameters and parts."""
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


def table_facts(table: "BlockTable", scene: Scene, heads: int, seconds: float) -> Facts:
    """Tell what a mask costs."""
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
        "head_dim": scene.head_dim,
        "flops": table.flops(heads, scene.head_dim),
        "executed_flops": table.executed_flops(heads, scene.head_dim),
        "dense_flops": 4 * heads * scene.head_dim * table.seq_len**2,
        "fingerprint": table.fingerprint,
    }


def scene_facts(scene: Scene) -> Facts:
    """Tell the grid and the model."""
    grid = scene.grid
    return {
        "model": scene.model.name if scene.model else None,
        "size": scene.size,
        "grid": grid.label,
        "frames": grid.frames,
        "height": grid.height,
        "width": grid.width,
        "text_tokens": grid.text_tokens,
        "text_first": grid.text_first,
        "text_valid": grid.real_text,
        "layers": scene.model.layers if scene.model else None,
    }


def part_values(spec: "MaskSpec", scene: Scene) -> dict[str, Any]:
    """Tell the named parts that are the same for all tokens, or that follow from dt alone.

    Returns:
        A part's value, or its values by frame distance: `{"0-1": 1560, "2-3": 780}`.
    """
    from radialbench.errors import SpecError
    from radialbench.maskgen.expr import COORDINATES, SEGMENTS

    told: dict[str, Any] = {}
    for part, _ in spec.let:
        depends = spec.parts[part].names() & {*COORDINATES, *SEGMENTS}
        try:
            if not depends:
                told[part] = _plain(spec.value(part, scene.grid))
            elif depends == {"dt"}:
                values = [spec.value(part, scene.grid, dt=dt) for dt in range(scene.grid.frames)]
                told[part] = _steps(values)
        except SpecError:
            # Undefined at some distance that the mask guards against elsewhere.
            continue
    return told


def cost_lines(facts: Facts, scene: Scene) -> list[tuple[str, str]]:
    """Tell people what a mask costs."""
    from radialbench.maskgen.picture import percent

    all_pairs, flops = facts["seq_len"] ** 2, facts["flops"]
    every = -(-facts["seq_len"] // facts["block_m"]) * -(-facts["seq_len"] // facts["block_n"])
    heads = f"{facts['heads']} head{'s' * (facts['heads'] > 1)} of {facts['head_dim']}"
    layer = f"one of {scene.model.layers} layers" if scene.model else "one layer"
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


def part_lines(spec: "MaskSpec", parts: dict[str, Any]) -> list[tuple[str, str]]:
    """Tell people a mask's parameters, and the parts that have a value."""
    lines = []
    for param in spec.params:
        changed = "" if param.value == param.default else f" (default {written(param.default)})"
        lines.append((param.name, f"{written(param.value)}{changed}  {param.help}".rstrip()))
    for part, value in parts.items():
        if not isinstance(value, dict):
            lines.append((part, written(value)))
            continue
        steps = list(value.items())
        told = [f"{span.replace('-', '–')}: {written(step)}" for span, step in steps[:MOST_STEPS]]
        more = ", …" if len(steps) > MOST_STEPS else ""
        lines.append((part, f"by frame distance {', '.join(told)}{more}"))
    return lines


def written(value: float | bool) -> str:
    """Write a parameter's value as people and `--set` do."""
    return str(value).lower() if isinstance(value, bool) else f"{value:,.6g}".replace(",", "")


def first_sentence(text: str) -> str:
    """Give the first sentence of a text."""
    first, full_stop, _ = text.partition(". ")
    return first + full_stop.strip()


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
