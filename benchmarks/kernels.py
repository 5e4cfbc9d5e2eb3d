"""Measure our kernels beside their peers on one GPU.

    python -m benchmarks.kernels -o results/kernels   # measure: under ten minutes on an H100
    python -m benchmarks.kernels                      # write docs/performance.md from the records
    python -m benchmarks.kernels --check              # exit with 1 if that page differs from them

Measuring runs benchmarks/kernels.yaml, prints the tables, and leaves the records in the folder;
benchmarks/results/kernels.jsonl holds those the page is made from. Peers that are not installed are
told as unsupported.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parts import filled, rewrite, told
from radialbench.records.result import Record
from radialbench.records.statistics import Estimate
from radialbench.records.store import RESULTS, read
from radialbench.reports.kernels import (
    Target,
    find,
    shape_tables,
    target_table,
)
from radialbench.reports.times import of_ceiling, ratio

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RECORDS = ROOT / "benchmarks" / "results" / "kernels.jsonl"

S, W1, H1, H4 = (
    "21x30x52/h12d128bf16",
    "21x45x80/h40d128bf16",
    "33x45x80/h24d128bf16",
    "129x45x80/h24d128bf16",
)
WHOLE, SMALL = "21x32x48/h12d128bf16", "8x32x32/h12d128bf16"
TITLES = {
    S: "S: Wan2.1 1.3B, 480p, 81 frames",
    W1: "W1: Wan2.1 14B, 720p, 81 frames",
    H1: "H1: HunyuanVideo, 720p, 129 frames",
    H4: "H4: HunyuanVideo, 720p, 4× the length",
    WHOLE: "Whole blocks: 21 frames of 12 × 128 tokens",
    SMALL: "A small launch",
}
SHORT = {S: "S", W1: "W1", H1: "H1", H4: "H4", WHOLE: "whole blocks", SMALL: "small launch"}
RADIAL = "radial_blocks"


def ceiling(group: str, mask: str, backend: str, bound: float) -> Target:
    """A rate as a share of the matrix product's."""

    def of(records: Sequence[Record]) -> Estimate | None:
        found = find(records, group, mask, backend)
        return of_ceiling(found) if found else None

    return Target(f"{SHORT[group]} {mask}: {backend} of the matrix product", bound, of)


def ahead(group: str, mask: str, backend: str, peer: str, bound: float) -> Target:
    """How many times as long a peer takes on the same mask."""

    def of(records: Sequence[Record]) -> Estimate | None:
        own, other = (find(records, group, mask, name) for name in (backend, peer))
        if own is None or other is None or not own.timing or not other.timing:
            return None
        return ratio(other.timing, own.timing)

    return Target(f"{SHORT[group]} {mask}: {backend} against {peer}", bound, of)


def exact(group: str) -> Target:
    """What exact blocks at the border cost over whole ones."""

    def of(records: Sequence[Record]) -> Estimate | None:
        own, whole = (find(records, group, name, "hopper") for name in ("radial", "radial_whole"))
        if own is None or whole is None or not own.timing or not whole.timing:
            return None
        return ratio(own.timing, whole.timing)

    return Target(f"{SHORT[group]} radial: exact over whole blocks, hopper", 1.10, of, at_most=True)


def small(mask: str) -> Target:
    """A short sequence against dense attention, by the share of pairs."""

    def of(records: Sequence[Record]) -> Estimate | None:
        own, dense = find(records, SMALL, mask, "hopper"), find(records, SMALL, "dense", "cudnn")
        if own is None or dense is None or not own.timing or not dense.timing or not own.table:
            return None
        return ratio(own.timing, dense.timing).times(1 / own.table.density)

    text = f"small launch {mask}: hopper over dense cudnn × density"
    return Target(text, 1.30, of, at_most=True)


TARGETS = (
    *(ceiling(group, RADIAL, "hopper", 1.00) for group in (S, W1, H1)),
    ceiling(H4, RADIAL, "hopper", 0.95),
    *(ahead(group, RADIAL, "hopper", "fa4", 1.08) for group in (S, W1, H1)),
    ahead(H4, RADIAL, "hopper", "fa4", 1.15),
    *(ahead(group, "dense", "hopper", "cudnn", 1.00) for group in (S, W1, H1)),
    *(ahead(group, "dense", "hopper", "fa3", 0.97) for group in (S, W1, H1)),
    *(exact(group) for group in (S, W1)),
    ceiling(W1, RADIAL, "triton", 0.87),
    *(ahead(group, RADIAL, "triton", "flex", 1.00) for group in (S, W1, H1, H4)),
    *(ahead(group, RADIAL, "triton", "flex_tma", 1.00) for group in (S, W1)),
    *(ahead(WHOLE, RADIAL, "triton", name, 1.00) for name in ("flashinfer_fa3", "fastvideo")),
    *(small(mask) for mask in (RADIAL, "radial")),
)


def parts(records: Sequence[Record]) -> dict[str, str]:
    """Give each generated part of the page by its name."""
    return {
        "targets": f"{target_table(records, TARGETS)}\n\n{told(records[-1])}",
        "shapes": shape_tables(records, TITLES),
    }


def written(text: str) -> str:
    """Put the parts into the page."""
    records = read(RECORDS).records
    return filled(text, parts(records), maker="benchmarks/kernels.py")


def measure(out: Path) -> int:
    """Run the suite, and print what the page would say."""
    command = ["radialbench", "run", "benchmarks/kernels.yaml", "-o", str(out.resolve())]
    code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
    if (out / RESULTS).exists():
        for part in parts(read(out / RESULTS).records).values():
            print(part, end="\n\n")
    return code


def main() -> int:
    """Measure, write the page, or check it."""
    parser = argparse.ArgumentParser(description="Our kernels beside their peers.")
    parser.add_argument("-o", "--out", type=Path, help="measure, into this folder")
    parser.add_argument("--check", action="store_true", help="compare the page with the records")
    options = parser.parse_args()
    if options.out:
        return measure(options.out)
    return rewrite(PAGE, written, check=options.check)


if __name__ == "__main__":
    sys.exit(main())
