"""What is fuzzed: each loader of files takes any bytes, or refuses them with an error of ours.

A target takes bytes and returns; anything it raises is a finding.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from radialbench import BlockTable, TokenGrid, compile_mask
from radialbench.autotune.trials import read_sweep
from radialbench.errors import RadialBenchError
from radialbench.kernels.tuned import SHIPPED
from radialbench.maskgen.library import FOLDER, is_head_plan, load_head_plan, read_mask_file
from radialbench.records.store import read
from radialbench.records.tuning_file import read_records
from radialbench.reports.check.baseline import update
from radialbench.reports.check.compare import check
from radialbench.reports.formats import CHECK_FORMATS, FORMATS, load_check_format, load_format
from radialbench.reports.summary import summarize, whole_results
from radialbench.suites.plan import plan
from radialbench.suites.read import LIBRARY, load_suite

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TINY = TokenGrid(3, 2, 5, text_tokens=3)


@cache
def _folder() -> Path:
    """A folder of this process, removed at its end."""
    holder = tempfile.TemporaryDirectory(prefix="radialbench-fuzz-")
    _HOLDERS.append(holder)
    return Path(holder.name)


_HOLDERS: list[tempfile.TemporaryDirectory[str]] = []


@contextmanager
def _file(data: bytes, name: str) -> Iterator[Path]:
    """A file with these bytes; errors of ours are what is asked for."""
    path = _folder() / name
    path.write_bytes(data)
    with suppress(RadialBenchError):
        yield path


def mask(data: bytes) -> None:
    """A mask file or a head plan, and the mask's table on a tiny video."""
    with _file(data, "mask.yaml") as path:
        if is_head_plan(path):
            load_head_plan(path)
        else:
            compile_mask(read_mask_file(path), TINY, 8, 8)


def suite(data: bytes) -> None:
    """A suite, and its cases."""
    with _file(data, "suite.yaml") as path:
        plan(load_suite(str(path)))


def results(data: bytes) -> None:
    """A run's results, and every report of them."""
    with _file(data, "results.jsonl") as path:
        found = read(path)
        summary = summarize(found.records, skipped=found.skipped)
        for name in FORMATS:
            if name != "html":  # It draws, in seconds.
                load_format(name)(summary)


def baseline(data: bytes) -> None:
    """A baseline: checked against, with every format of the verdicts, and updated."""
    with _file(data, "baseline.jsonl") as path:
        _, records = whole_results(path)
        found = check(records, records)
        for name in CHECK_FORMATS:
            load_check_format(name)(found)
        update(path, records, reason="fuzzed")


def tuned(data: bytes) -> None:
    """A file of tuned configurations, as JSON Lines or as the document of an export."""
    for name in ("tuned.jsonl", "tuned.json"):
        with _file(data, name) as path:
            for record in read_records(path):
                record.stale_reasons("", {})


def trials(data: bytes) -> None:
    """A recorded sweep of tuning."""
    with _file(data, "sweep.jsonl") as path:
        read_sweep(path)


def table(data: bytes) -> None:
    """A block table."""
    with _file(data, "table.npz") as path:
        BlockTable.load(path).to_dense()


@dataclass(frozen=True, slots=True)
class Target:
    """A loader, the files to start from, and words that they are made of."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()


def _texts(*paths: Path) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def _lines(path: Path, step: int) -> list[bytes]:
    """Two lines of a file of records, from a few places in it."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [b"".join(lines[start : start + 2]) for start in range(0, len(lines), step)][:6]


def _tables() -> list[bytes]:
    path = _folder() / "seed.npz"
    found = []
    for name in ("radial", "sta", "dense"):
        compile_mask(name, TINY, 8, 8).save(path)
        found.append(path.read_bytes())
    return found


VALUES = (
    *(b"0", b"-1", b"1e400", b".inf", b".nan", b"nan", b"NaN", b"Infinity", b"null", b"true"),
    *(b"9" * 400, b"99999999999999999999", b"[]", b"{}", b'""', b"&a b", b"*a", b"\xff\xfe"),
    *(b"\x00", b"\xe2\x80\xa8", b"\\ud800", b"!!python/object/apply:os.system [x]", b"<<: *a"),
    *(b"../../etc/passwd", b"/dev/zero", b"__import__('os')", b"x" * 5000, b"[" * 2000),
)

TARGETS: Mapping[str, Target] = {
    "mask": Target(
        mask,
        lambda: _texts(
            *sorted(FOLDER.glob("*.yaml")), *sorted(ROOT.glob("benchmarks/rules/*.yaml"))
        ),
        (b"dt", b"kt", b"ds", b"//", b"**", b"where(", b" and ", b" or ", b"floor(", b"log2("),
    ),
    "suite": Target(
        suite,
        lambda: _texts(*sorted(LIBRARY.glob("*.yaml")), *sorted(ROOT.glob("benchmarks/*.yaml"))),
        (b"masks: ", b"grids: ", b"extends: ", b"include: ", b"exclude: ", b"protocol: "),
    ),
    "results": Target(results, lambda: _lines(RESULTS / "wan.jsonl", 7)),
    "baseline": Target(baseline, lambda: _lines(RESULTS / "sweep.jsonl", 3)),
    "tuned": Target(tuned, lambda: _lines(SHIPPED / "nvidia-h200.jsonl", 9)),
    "trials": Target(trials, lambda: _lines(RESULTS / "tuning_sweep.jsonl", 500)),
    "table": Target(table, _tables),
}
