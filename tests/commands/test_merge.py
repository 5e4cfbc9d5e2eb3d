"""`radialbench merge`: results of shards, from folders or files, into one."""

import json
from pathlib import Path
from typing import Any

import pytest

from radialbench.records.store import RESULTS, append, read
from tests.commands.line import Capture, Cli
from tests.records.sample import RECORD, failed
from tests.suites import small
from tests.test_import import HEAVY, HELP, loaded


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "a", tmp_path / "b"]
    for folder in found:
        folder.mkdir()
    return found


def test_the_shards_of_a_run_become_what_the_whole_run_gives(cli: Cli, tmp_path: Path) -> None:
    suite, parts = small.written(tmp_path), [tmp_path / "one", tmp_path / "two"]
    for place, folder in enumerate(parts, start=1):
        code, out, _ = cli("run", suite, "--shard", f"{place}/2", "-o", folder, "-q")
        assert (code, out.splitlines()[0]) == (0, "small: 2 ok")
    code, out, _ = cli("merge", *parts, "-o", tmp_path / "all")
    results = tmp_path / "all" / RESULTS
    assert (code, out) == (0, f"small: 4 records of 2 files\nresults: {results}\n")
    code, out, _ = cli("run", suite, "-o", tmp_path / "all", "--resume")
    assert (code, out.splitlines()[0]) == (0, "small: nothing left to run, 4 kept from before")


def test_skipped_and_replaced_records_are_reported(
    cli: Cli, folders: list[Path], tmp_path: Path
) -> None:
    for folder, records in zip(folders, ([failed(), RECORD], [RECORD]), strict=True):
        for record in records:
            append(folder / RESULTS, record)
    with (folders[1] / RESULTS).open("a") as file:
        file.write("{")
    code, out, _ = cli("merge", folders[0], folders[1] / RESULTS, "-o", tmp_path / "out")
    assert (code, out) == (
        0,
        f"{folders[1] / RESULTS}: line 2: not JSON, or not all of it; skipped\n"
        "smoke: 1 record of 2 files, 1 in several files, 1 replaced by later ones\n"
        f"results: {tmp_path / 'out' / RESULTS}\n",
    )
    assert read(tmp_path / "out" / RESULTS).records == (RECORD,)


def test_json(cli: Cli, folders: list[Path], tmp_path: Path) -> None:
    for folder in folders:
        append(folder / RESULTS, RECORD)
    code, out, _ = cli("merge", *folders, "-o", tmp_path / "out", "--json")
    facts: dict[str, Any] = json.loads(out)
    assert (code, facts) == (
        0,
        {
            "suite": "smoke",
            "results": str(tmp_path / "out" / RESULTS),
            "records": 1,
            "same": 1,
            "replaced": 0,
            "skipped": [],
        },
    )


def test_bad_input(cli: Cli, folders: list[Path], tmp_path: Path) -> None:
    code, _, err = cli("merge", *folders, "-o", tmp_path / "out")
    assert (code, err) == (
        2,
        f"radialbench: cannot read {folders[0] / RESULTS}: No such file or directory\n",
    )
    assert cli("merge", *folders)[0] == 2
    assert cli("merge", "-o", tmp_path)[0] == 2


def test_merging_loads_nothing_heavy(tmp_path: Path) -> None:
    append(tmp_path / RESULTS, RECORD)
    words = ["merge", str(tmp_path), "-o", str(tmp_path / "out"), "--json"]
    assert not loaded(HELP.format(arguments=words)) & HEAVY
