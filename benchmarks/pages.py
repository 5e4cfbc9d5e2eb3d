"""Rewrite the pages that are made from records: README.md and pages under docs/.

    python -m benchmarks.pages                  # all of them, with their pictures
    python -m benchmarks.pages paper tuning     # some
    python -m benchmarks.pages --check          # write nothing; exit with 1 if a page differs

A part of a page stands between `<!-- name: made by benchmarks/pages.py -->` and `<!-- /name -->`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import (
    backward,
    boxes,
    checks,
    clip,
    compile_gpu,
    decay,
    fidelity,
    gallery,
    intervals,
    mask_search,
    models,
    paper,
    performance,
    scale,
    timers,
    training,
    tune_workers,
    tuning,
)
from benchmarks.parts import RESULTS, ROOT, read_lines, source_of
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.maskgen.picture import save_pictures
from radialbench.records.store import read
from radialbench.reports.doc_tables import compile_table, growth_lines, speedup_table, sweep_table
from radialbench.reports.formats import load_format
from radialbench.reports.summary import summarize
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite

DOCS = ROOT / "docs"
IMAGES = DOCS / "images"
EXAMPLES = DOCS / "examples"
MAKER = "benchmarks/pages.py"

SHAPES = {group: performance.TITLES[group].partition(": ")[2] for group in performance.SHAPES}
PICTURED = ("radial", "sta", "svg_spatial", "svg_temporal")

SUITES = {
    "scaling": "5 to 257 latent frames at 480p and 720p, one head",
    "wan": "Wan2.1 1.3B and 14B, 33 to 161 frames, all heads",
    "hunyuan": "HunyuanVideo, all heads",
    "mochi": "Mochi 1, all heads",
    "paper": "the videos of the radial attention paper, with its figures beside ours",
    "peers": "our kernels beside other libraries'",
}
"""Suites with an example report, and what each measures."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page made from records: its parts by name, and what draws its pictures."""

    path: Path
    parts: Callable[[], Mapping[str, str]]
    pictures: Mapping[Path, Callable[[Path], object]] = field(default_factory=dict)

    def written(self, text: str) -> str:
        """Insert the parts into the text of the page, or exit if a mark is not there once."""
        for name, part in self.parts().items():
            begin, end = f"<!-- {name}: made by {MAKER} -->\n", f"<!-- /{name} -->"
            if text.count(begin) != 1 or text.count(end) != 1:
                raise SystemExit(f"{self.path} must have one part {name!r} of {MAKER}")
            before, after = text.split(begin)[0], text.split(end)[1]
            text = f"{before}{begin}{part}\n{end}{after}"
        return text


def readme_parts() -> dict[str, str]:
    """Return the parts of the README."""
    compiled = read(RESULTS / "compile.jsonl").records
    swept = read(RESULTS / "sweep.jsonl").records
    kernels = [r for r in read(performance.RUNS[0]).records if r.mask.name != "radial_whole"]
    steps = read_lines(paper.TIMES, paper.PartTime)
    calls = paper.call_table(paper.of_videos(steps))
    summary = summarize(swept)
    return {
        "compile": f"{compile_table(compiled)}\n\n{source_of(compiled[-1])}",
        "sweep": f"{sweep_table(summary)}\n\n{source_of(swept[-1])}",
        "growth": growth_lines(summary),
        "speedups": f"{speedup_table(kernels, SHAPES)}\n\n{source_of(kernels[-1])}",
        "calls": f"{calls}\n\n{source_of(steps[-1])}",
    }


def draw_masks(path: Path) -> None:
    """Draw the README's four masks."""
    grid = TokenGrid.for_model("wan2.1-1.3b", "832x480x81")
    save_pictures(path, [(name, compile_mask(load_mask(name), grid)) for name in PICTURED])


def example_parts() -> dict[str, str]:
    """Return the list of the example reports."""
    lines = ["| suite | what it measures | on | cases |", "|-|-|-|-:|"]
    for suite, what in SUITES.items():
        records = read(RESULTS / f"{suite}.jsonl").records
        cells = (f"[{suite}]({suite}.html)", what, records[-1].environment.device)
        asked = len(plan(load_suite(suite)))
        lines.append(f"| {' | '.join(cells)} | {len(records)} of {asked} |")
    lines += ["", f"The last of them: {source_of(records[-1])}"]
    return {"suites": "\n".join(lines)}


def example(suite: str) -> str:
    """Return the report of a suite's records, as `radialbench report` writes it."""
    source = RESULTS / f"{suite}.jsonl"
    found = read(source)
    summary = summarize(found.records, source=str(source.relative_to(ROOT)), skipped=found.skipped)
    return load_format("html")(summary)


PAGES = {
    "readme": Page(ROOT / "README.md", readme_parts, {IMAGES / "masks.png": draw_masks}),
    "check": Page(DOCS / "check.md", checks.parts),
    "decay": Page(
        DOCS / "decay.md",
        lambda: decay.parts() | clip.parts(),
        {IMAGES / "distance.png": clip.save_picture},
    ),
    "examples": Page(EXAMPLES / "index.md", example_parts),
    "fidelity": Page(DOCS / "fidelity.md", fidelity.parts),
    "gallery": Page(DOCS / "gallery.md", gallery.parts, gallery.pictures(IMAGES)),
    "integrations": Page(DOCS / "integrations.md", models.parts),
    "mask-search": Page(
        DOCS / "mask-search.md", mask_search.parts, {IMAGES / "front.png": mask_search.save_picture}
    ),
    "measurement": Page(DOCS / "measurement.md", lambda: timers.parts() | intervals.parts()),
    "paper": Page(DOCS / "paper.md", lambda: paper.parts() | training.parts()),
    "performance": Page(
        DOCS / "performance.md",
        lambda: performance.parts() | backward.parts() | boxes.parts() | compile_gpu.parts(),
    ),
    "performance-h100": Page(
        DOCS / "performance-h100.md", lambda: performance.of_runs(performance.H100)
    ),
    "scale": Page(DOCS / "scale.md", lambda: scale.parts() | tune_workers.parts()),
    "tuning": Page(
        DOCS / "tuning.md", tuning.parts, {IMAGES / tuning.PICTURE: tuning.save_picture}
    ),
}


def texts_of(name: str) -> dict[Path, str]:
    """Return the text of every file of a page, without pictures, as its records make it."""
    page = PAGES[name]
    texts = {page.path: page.written(page.path.read_text(encoding="utf-8"))}
    if name == "examples":
        texts |= {EXAMPLES / f"{suite}.html": example(suite) for suite in SUITES}
    return texts


def main() -> int:
    """Write the chosen pages, or compare them."""
    parser = argparse.ArgumentParser(description="Write the pages that are made from records.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PAGES)} (all)")
    parser.add_argument(
        "--check", action="store_true", help="print which pages differ, and write nothing"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in PAGES]:
        parser.error(f"no page {unknown[0]!r}; there are {', '.join(PAGES)}")
    stale = []
    for name in options.names or PAGES:
        texts = texts_of(name)
        stale += [path for path, text in texts.items() if path.read_text("utf-8") != text]
        if not options.check:
            for path, text in texts.items():
                path.write_text(text, encoding="utf-8")
            for path, draw in PAGES[name].pictures.items():
                draw(path)
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'differs' if options.check else 'was rewritten'}")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
