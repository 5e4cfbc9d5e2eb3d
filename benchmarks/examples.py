"""Make the example reports from the records of the suites: `python -m benchmarks.examples`.

One page a suite, as `radialbench report` writes it. With --check nothing is written: exits with 1
if a page differs from the records.
"""

import sys
from pathlib import Path

from benchmarks.parts import filled, told
from radialbench.records.result import Record
from radialbench.records.store import read
from radialbench.reports.formats import load_format
from radialbench.reports.summarize import summarize
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
EXAMPLES = ROOT / "docs" / "examples"
INDEX = EXAMPLES / "index.md"
SUITES = {
    "scaling": "5 to 257 latent frames at 480p and 720p, one head",
    "wan": "Wan2.1 1.3B and 14B, 33 to 161 frames, all heads",
    "hunyuan": "HunyuanVideo, all heads",
    "mochi": "Mochi 1, all heads",
    "paper": "the videos of the radial attention paper, with its figures beside ours",
    "peers": "our kernels beside other libraries'",
}


def page(suite: str) -> str:
    """Give the page of a suite's records."""
    source = RESULTS / f"{suite}.jsonl"
    found = read(source)
    summary = summarize(found.records, source=str(source.relative_to(ROOT)), skipped=found.skipped)
    return load_format("html")(summary)


def index(text: str) -> str:
    """Put what there is into the text of the list of examples."""
    lines = ["| suite | what it measures | on | cases |", "|-|-|-|-:|"]
    records: tuple[Record, ...] = ()
    for suite, what in SUITES.items():
        records = read(RESULTS / f"{suite}.jsonl").records
        asked = len(plan(load_suite(suite)))
        cells = (f"[{suite}]({suite}.html)", what, records[-1].environment.device)
        lines.append(f"| {' | '.join(cells)} | {len(records)} of {asked} |")
    lines += ["", f"The last of them: {told(records[-1])}"]
    return filled(text, {"suites": "\n".join(lines)}, maker="benchmarks/examples.py")


def main() -> int:
    """Write, or compare with --check."""
    texts = {EXAMPLES / f"{suite}.html": page(suite) for suite in SUITES}
    texts[INDEX] = index(INDEX.read_text(encoding="utf-8"))
    if "--check" in sys.argv[1:]:
        return int(any(path.read_text(encoding="utf-8") != text for path, text in texts.items()))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
