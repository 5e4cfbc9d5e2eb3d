"""Values that would break later are refused where they enter, with their line."""

import copy
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.parts import RESULTS as BENCHMARKS
from radialbench import BlockTable, TokenGrid, compile_mask
from radialbench.autotune.trials import read_sweep
from radialbench.errors import RadialBenchError, RecordError
from radialbench.kernels.tuned import SHIPPED
from radialbench.records.codec import to_dict
from radialbench.records.store import read
from radialbench.records.tuning_file import read_records
from radialbench.reports.summary import summarize
from tests.commands.line import Capture, Cli
from tests.records.sample import RECORD
from tests.records.tuned import TUNED

Place = tuple[str | int, ...]

BROKEN: list[tuple[Place, object]] = [
    (("timing", "samples_ms", 0), 1e308),
    (("timing", "samples_ms", 0), True),
    (("timing", "samples_ms", 0), 5e-324),
    (("timing", "warmups"), 10**400),
    (("table", "executed_flops"), 10**400),
    (("table", "density"), 1.01),
    (("table", "block_density"), -0.01),
    (("accuracy", "max_abs_error"), -1e-6),
    (("accuracy", "rms_error"), -1),
    (("environment", "power_limit_w"), -700.0),
    (("environment", "max_sm_mhz"), -1),
    (("plan_ms",), 1e308),
    (("mask", "params"), {"decay": 10**400}),
    (("config", "num_warps"), 2**63),
    (("created",), None),
    (("timing", "samples_ms", 0), math.nan),
    (("accuracy", "rms_error"), math.inf),
    (("suite",), "\ud800"),
]


def changed(document: Any, place: Place, value: object) -> Any:
    """Return a copy of a document with another value at a place."""
    document = copy.deepcopy(document)
    part = document
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    return document


def write(path: Path, *documents: Any) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    return path


@pytest.mark.parametrize(("place", "value"), BROKEN)
def test_a_record_with_such_a_value_is_refused_with_its_line(
    place: Place, value: object, tmp_path: Path
) -> None:
    whole = to_dict(RECORD)
    path = write(tmp_path / "results.jsonl", whole, changed(whole, place, value))
    with pytest.raises(RecordError, match=r"results.jsonl:2: .*Mend the line, or remove it"):
        read(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("ms", "value"), 1e308),
        (("ms", "low"), 9.0),
        (("ratio", "value"), 2.0),
        (("seed",), True),
        (("trials", "ok"), 10**400),
    ],
)
def test_so_is_a_tuning_record(place: Place, value: object, tmp_path: Path) -> None:
    whole = to_dict(TUNED)
    path = write(tmp_path / "tuned.jsonl", changed(whole, place, value))
    with pytest.raises(RecordError, match=r"tuned.jsonl:1: not a tuning record"):
        read_records(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("samples_ms",), [1e308]),
        (("samples_ms",), []),
        (("block_density",), 1.5),
        (("registers",), -1),
        (("reason",), ""),
    ],
)
def test_so_is_a_trial_of_a_sweep(place: Place, value: object, tmp_path: Path) -> None:
    lines = (BENCHMARKS / "tuning_sweep.jsonl").read_text(encoding="utf-8").splitlines()
    whole = next(one for one in map(json.loads, lines) if one["outcome"] == "ok")
    path = write(tmp_path / "sweep.jsonl", whole)
    assert read_sweep(path)
    with pytest.raises(RecordError, match=r"sweep.jsonl:1: not a trial of a sweep"):
        read_sweep(write(path, changed(whole, place, value)))


def test_every_verb_that_reads_results_names_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    whole = to_dict(RECORD)
    good = write(tmp_path / "good.jsonl", whole)
    bad = write(tmp_path / "bad.jsonl", whole, changed(whole, ("table", "density"), 2.0))
    cli = Cli(monkeypatch, capsys)
    for line in (
        ("report", bad, "-o", tmp_path / "report"),
        ("check", bad, "--baseline", good),
        ("check", good, "--baseline", bad),
        ("history", good, bad),
        ("merge", good, bad, "-o", tmp_path / "merged"),
        ("baseline", "update", bad, "-o", tmp_path / "base.jsonl", "--reason", "new"),
    ):
        code, _, err = cli(*line)
        assert code == 2
        assert "bad.jsonl:2: TableStats.density must be a number from 0 to 1, got 2.0" in " ".join(
            err.split()
        )
    assert {path.name for path in tmp_path.iterdir()} == {"good.jsonl", "bad.jsonl"}


# Whatever stands in a file, it is read and reported, or refused with an error of ours.

VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 0, -1, -0.5, 1.5, 5e-324, 1e308, -1e308, 2**63 - 1, 2**64, 10**400, ""),
        *([], {}, [1e12, 1e-9], [True], [[]], "\x1b[31m", "0001-01-01T00:00:00+23:59"),
    ]
)


@cache
def documents(folder: Path) -> list[Any]:
    files = sorted(folder.glob("*.jsonl"))
    lines = [file.read_text(encoding="utf-8").splitlines() for file in files]
    return [json.loads(one) for several in lines for one in several[:: max(1, len(several) // 4)]]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Yield the places of a document, the first few of a list."""
    if above:
        yield above
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in list(enumerate(value[:3])) if isinstance(value, list) else parts:
        yield from places(part, (*above, key))


@st.composite
def mutated(draw: st.DrawFn, folder: Path) -> Any:
    document = draw(st.sampled_from(documents(folder)))
    return changed(document, draw(st.sampled_from([*places(document)])), draw(VALUES))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutated") / "one.jsonl"


@given(mutated(BENCHMARKS))
def test_any_value_of_a_record_is_reported_or_refused(file: Path, document: Any) -> None:
    try:
        found = read(write(file, document))
    except RadialBenchError:
        return
    if found.records:
        summarize(found.records, source="file", skipped=found.skipped).frame()


@given(mutated(SHIPPED))
def test_any_value_of_a_tuning_record_is_read_or_refused(file: Path, document: Any) -> None:
    try:
        read_records(write(file, document))
    except RadialBenchError as error:
        assert "one.jsonl:1: " in str(error)


@cache
def saved(folder: Path) -> dict[str, Any]:
    compile_mask("radial", TokenGrid(3, 4, 6, 5), 32, 32).save(folder / "table.npz")
    return dict(np.load(folder / "table.npz"))


@given(st.data())
@settings(max_examples=60)
def test_any_header_of_a_table_is_read_or_refused(file: Path, data: st.DataObject) -> None:
    arrays = saved(file.parent)
    header = json.loads(arrays["header"].tobytes())
    header = changed(header, data.draw(st.sampled_from([*places(header)])), data.draw(VALUES))
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    path = file.with_suffix(".npz")
    np.savez(path, **(arrays | {"header": text}))
    try:
        BlockTable.load(path)
    except RadialBenchError as error:
        assert f"cannot read {path}: " in str(error)
