"""Pipes, devices and what exceeds memory are refused in a sentence, by whatever reads or writes."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from radialbench import (
    BlockTable,
    TokenGrid,
    compile_mask,
    load_mask,
    load_summary,
    reading,
    writing,
)
from radialbench.autotune.storage import open_journal
from radialbench.autotune.trials import read_sweep
from radialbench.errors import RadialBenchError, TableError
from radialbench.integrations.blueprint import Blueprint
from radialbench.maskgen.language.given import read_tables
from radialbench.maskgen.library import load_head_plan
from radialbench.records.fidelity_record import read_fidelity
from radialbench.records.offline import read_offline
from radialbench.records.store import RESULTS, append
from radialbench.records.tuning_file import read_records
from radialbench.reports.check.metrics import read_gates
from radialbench.suites.read import load_suite
from radialbench.suites.run import run
from tests.commands.line import Capture, Cli
from tests.records.sample import RECORD

Loader = Callable[[Path], object]

LOADERS: dict[str, Loader] = {
    "table.npz": BlockTable.load,
    "blocks.npy": lambda path: read_tables({"blocks": str(path)}),
    "mask.yaml": load_mask,
    "plan.yaml": load_head_plan,
    "suite.yaml": lambda path: load_suite(str(path)),
    "gates.yaml": read_gates,
    "results.jsonl": load_summary,
    "tuned.jsonl": read_records,
    "tuned.json": read_records,
    "offline.jsonl": read_offline,
    "fidelity.jsonl": read_fidelity,
    "sweep.jsonl": read_sweep,
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_pipe_and_a_device_are_not_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(RadialBenchError, match=f"{name}.*: it is a pipe, and only files are read"):
        LOADERS[name](path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(RadialBenchError, match=f"{name}.*: it is a device, and only files"):
        LOADERS[name](path)


def test_nor_is_a_pipe_that_a_folder_holds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / RESULTS)
    with pytest.raises(RadialBenchError, match=f"cannot read .*{RESULTS}: it is a pipe"):
        load_summary(tmp_path)
    with pytest.raises(RadialBenchError, match=r"cannot write results to .*: it is a pipe"):
        run(load_suite("smoke"), tmp_path)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(RadialBenchError, match="has no transformer of diffusers"):
        Blueprint.of_folder(tmp_path)
    os.mkfifo(tmp_path / "journal.log")
    with pytest.raises(OSError, match="it is a pipe"):
        open_journal(tmp_path / "journal.log")


def test_a_pipe_that_nobody_reads_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(writing, "READER_WAIT", 0.1)
    pipe, results = tmp_path / "pipe", tmp_path / "results.jsonl"
    os.mkfifo(pipe)
    append(results, RECORD)
    cli = Cli(monkeypatch, capsys)
    for line in (
        ("export", "table", "radial", "--grid", "2x4x4", "-o", pipe),
        ("baseline", "update", results, "-o", pipe, "--reason", "first"),
    ):
        code, _, err = cli(*line)
        assert (code, "no process reads from this pipe" in " ".join(err.split())) == (2, True)


@pytest.mark.parametrize("name", ["table.npz", "blocks.npy", "results.jsonl", "sweep.jsonl"])
def test_what_exceeds_the_free_memory_is_not_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(3 << 40)
    if name == "table.npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("header.npy", bytes(100 << 20))
        monkeypatch.setattr(reading, "free_memory", lambda: 64 << 20)
    with pytest.raises(RadialBenchError, match=f"{name}.*: it holds .* bytes, and .* of memory"):
        LOADERS[name](path)
    if name == "table.npz":
        monkeypatch.setattr(reading, "free_memory", lambda: 1 << 30)
        with pytest.raises(TableError, match="header is no array"):
            LOADERS[name](path)


@pytest.mark.parametrize("name", LOADERS)
def test_a_path_that_no_file_can_have_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(RadialBenchError, match="NUL|null|no results"):
        LOADERS[name](tmp_path / f"\0{name}")


def test_nor_is_it_written_or_found_in_a_suite(tmp_path: Path) -> None:
    odd, suite = tmp_path / "\0x", tmp_path / "suite.yaml"
    with pytest.raises(RadialBenchError, match="cannot write .*NUL"):
        append(odd, RECORD)
    with pytest.raises(RadialBenchError, match="cannot write .*NUL"):
        compile_mask("radial", TokenGrid(3, 4, 4), block_m=32, block_n=32).save(odd)
    with pytest.raises(RadialBenchError, match="cannot write .*NUL"):
        run(load_suite("smoke"), odd)
    for text in (
        r'extends: "\0.yaml"',
        r'include: ["\0.yaml"]',
        r'cases: [{masks: ["\0.yaml"], grids: [3x4x4], heads: 1, head_dim: 8, backends: [cpu]}]',
    ):
        suite.write_text(text)
        with pytest.raises(RadialBenchError, match=r"suite\.yaml:1:.*own folder"):
            load_suite(str(suite))
