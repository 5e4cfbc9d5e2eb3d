"""Make the README's tables and picture from the committed records: `python -m benchmarks.readme`.

With --check nothing is written: exits with 1 if the README differs from the records.
"""

import sys
from pathlib import Path

from benchmarks.paper_times import call_table, of_videos, read_times
from benchmarks.parts import filled, told
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.maskgen.picture import save_pictures
from radialbench.records.store import read
from radialbench.reports.kernels import speedup_table
from radialbench.reports.readme import compile_table, growth_lines, sweep_table
from radialbench.reports.summarize import summarize

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
SHAPES = {
    "21x30x52/h12d128bf16": "Wan2.1 1.3B, 480p, 81 frames",
    "21x45x80/h40d128bf16": "Wan2.1 14B, 720p, 81 frames",
    "33x45x80/h24d128bf16": "HunyuanVideo, 720p, 129 frames",
}
PICTURED = ("radial", "sta", "svg_spatial", "svg_temporal")


def parts() -> dict[str, str]:
    """Give each generated part of the README by its name."""
    compiled = read(RESULTS / "compile.jsonl").records
    swept = read(RESULTS / "sweep.jsonl").records
    kernels = [r for r in read(RESULTS / "kernels.jsonl").records if r.mask.name != "radial_whole"]
    steps = read_times(RESULTS / "paper_step.jsonl")
    calls = call_table(of_videos(steps))
    summary = summarize(swept)
    return {
        "compile": f"{compile_table(compiled)}\n\n{told(compiled[-1])}",
        "sweep": f"{sweep_table(summary)}\n\n{told(swept[-1])}",
        "growth": growth_lines(summary),
        "speedups": f"{speedup_table(kernels, SHAPES)}\n\n{told(kernels[-1])}",
        "calls": f"{calls}\n\n{told(steps[-1])}",
    }


def written(text: str) -> str:
    """Put the parts into a README."""
    return filled(text, parts(), maker="benchmarks/readme.py")


def main() -> int:
    """Write, or compare with --check."""
    text = README.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        return int(written(text) != text)
    README.write_text(written(text), encoding="utf-8")
    grid = TokenGrid.for_model("wan2.1-1.3b", "832x480x81")
    tables = [(name, compile_mask(load_mask(name), grid)) for name in PICTURED]
    pictures = ROOT / "docs" / "images"
    pictures.mkdir(exist_ok=True)
    save_pictures(pictures / "masks.png", tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
