"""Make the README's tables and picture from the committed records: `python benchmarks/readme.py`.

With --check nothing is written: exits with 1 if the README differs from the records.
"""

import sys
from pathlib import Path

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.maskgen.picture import save_pictures
from radialbench.records.result import Record
from radialbench.records.store import read
from radialbench.reports.readme import compile_table, growth_lines, sweep_table
from radialbench.reports.summary import summarize

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
PICTURED = ("radial", "sta", "svg_spatial", "svg_temporal")


def parts() -> dict[str, str]:
    """Give each generated part of the README by its name."""
    compiled = read(RESULTS / "compile.jsonl").records
    swept = read(RESULTS / "sweep.jsonl").records
    summary = summarize(swept)
    return {
        "compile": f"{compile_table(compiled)}\n\n{told(compiled[-1])}",
        "sweep": f"{sweep_table(summary)}\n\n{told(swept[-1])}",
        "growth": growth_lines(summary),
    }


def told(record: Record) -> str:
    """Say where records come from."""
    here = record.environment
    machine = f"{here.cpu}, {here.cores} cores, {here.memory_bytes / 2**30:.0f} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in here.versions.items())
    command = here.command.split(" -o ")[0]
    return f"{machine}; Python {here.python}, {versions}; `{command}`; {record.created[:10]}."


def written(text: str) -> str:
    """Put the parts into a README."""
    for name, part in parts().items():
        begin, end = f"<!-- {name}: made by benchmarks/readme.py -->\n", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{README} has no part {name!r}")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}{part}\n{end}{after}"
    return text


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
