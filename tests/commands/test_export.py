"""`radialbench export`: what it writes and tells, what it measures again, and exit codes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.autotune import run as tuning
from radialbench.autotune.export import CONFIG_FORMATS
from radialbench.autotune.jobs import jobs_of, tunable_cases
from radialbench.autotune.trials import Trial, TrialOutcome, study_name
from radialbench.autotune.tuner import open_store
from radialbench.kernels import tuned as lookups
from radialbench.kernels.tuned import device_name, file_name, find_config
from radialbench.maskgen.export import EXPORTERS
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.records.tuning_file import from_document, write_tuning
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.writing import SUMS
from tests.autotune.fake import among
from tests.commands.line import Capture, Cli
from tests.kernels.configs import fresh, fresh_for
from tests.records.tuned import KEY, TUNED, kept, tuned
from tests.suites import small

SMALL = ("--grid", "4x5x6", "--block-m", "16", "--block-n", "16")
GRID = TokenGrid(4, 5, 6)


class ExportCli(Cli):
    """Runs `radialbench export …` in this process."""

    def text(self, *words: object) -> str:
        code, printed, err = self(*words)
        assert (code, err) == (0, "")
        return printed

    def refused(self, *words: object) -> str:
        code, printed, err = self(*words)
        assert (code, printed) == (2, "")
        assert err.startswith("radialbench: ")
        assert err.count("\n") == 1
        return err.removeprefix("radialbench: ").rstrip("\n")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> ExportCli:
    return ExportCli(monkeypatch, capsys, "export")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for what comes with the package."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(lookups, "SHIPPED", folder)
    return folder


def study(folder: Path, *records: TuningRecord) -> Path:
    path = folder / "records.jsonl"
    write_tuning(path, records)
    return path


@pytest.mark.parametrize("name", CONFIG_FORMATS)
def test_a_study_is_written_in_every_format(cli: ExportCli, name: str, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    records = fresh("triton"), replace(kept(heads=40), **_now())
    printed = cli.text(study(tmp_path, *records), "--format", name, "-o", out)
    devices = ", ".join(sorted({records[0].key.device, KEY.device}))
    assert printed == (
        f"{out}: 2 configurations of {devices}, the default for 1 of them, where nothing was "
        "faster by more than the noise\n"
    )
    assert out.is_dir() == (name in ("t4", "vllm"))
    facts = json.loads(cli.text(study(tmp_path, *records), "--format", name, "-o", out, "--json"))
    files = sorted(map(Path, facts.pop("files")))
    assert files == (sorted(set(out.iterdir()) - {out / SUMS}) if out.is_dir() else [out])
    assert facts == {"format": name, "configurations": 2, "default": 1, "stale": 0}


def _now() -> dict[str, Any]:
    now = fresh("triton")
    return {"kernel": now.kernel, "versions": now.versions}


def test_what_is_exported_is_found_by_lookups(cli: ExportCli, tmp_path: Path) -> None:
    problem = small.case().problem
    out = tmp_path / "mine.json"
    cli.text(study(tmp_path, fresh_for(problem, "cpu")), "--format", "json", "--out", out)
    found = find_config(problem, "cpu", device_name("cpu"), configs=out)
    assert (found.config, found.source) == (TUNED.config, "tuned")
    # What was exported can be exported again, and is read where a folder is named.
    again = tmp_path / "again.json"
    cli.text("configs", out, "--format", "json", "-o", again)
    assert again.read_text(encoding="utf-8") == out.read_text(encoding="utf-8")
    cli.text(tmp_path, "--format", "json", "-o", again)
    assert again.read_text(encoding="utf-8") == out.read_text(encoding="utf-8")


def test_records_of_another_version_are_reported(cli: ExportCli, tmp_path: Path) -> None:
    printed = cli.text(study(tmp_path, TUNED), "--format", "json", "-o", tmp_path / "x.json")
    assert printed.splitlines()[1].startswith(
        "1 are of another version of the kernel or its compiler"
    )


def test_a_part_can_be_chosen(cli: ExportCli, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    records = TUNED, tuned(device="Other GPU"), tuned(backend="hopper", device="Other GPU")
    path = study(tmp_path, *records)

    def chosen(*words: str) -> tuple[TuningRecord, ...]:
        cli.text(path, "--format", "json", "-o", out, *words)
        return from_document(out.read_bytes())

    assert chosen() == records
    assert chosen("-b", "triton") == records[:2]
    assert chosen("-d", "other") == records[1:]
    assert chosen("-b", "triton", "-d", "Other GPU") == records[1:2]
    assert chosen("-b", "triton", "-b", "hopper") == records


def test_what_comes_with_the_package(cli: ExportCli, shipped: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    assert cli.refused("configs", "--format", "json", "-o", out) == (
        "this package has no tuned configurations; name a file that tune has written"
    )
    write_tuning(shipped / file_name("Example GPU"), [TUNED])
    write_tuning(shipped / file_name("Other GPU"), [tuned(device="Other GPU")])
    for words in (["configs"], []):
        cli.text(*words, "--format", "json", "-o", out)
        assert from_document(out.read_bytes()) == (TUNED, tuned(device="Other GPU"))


def test_t4_takes_the_trials_beside_the_records(cli: ExportCli, tmp_path: Path) -> None:
    trial = Trial(KernelConfig(64, 64), TrialOutcome.OK, None, (1.5,))
    url = f"journal:{tmp_path / 'records.journal'}"
    store = open_store(url, study_name(TUNED.key, TUNED.kernel), among())
    store.begin(trial.config)
    store.end(trial)
    moved = study(tmp_path, TUNED).rename(tmp_path / "moved.jsonl")
    for path, words, results in (
        (study(tmp_path, TUNED), [], 1),
        (moved, [], 2),
        (moved, ["--storage", url], 1),
    ):
        facts = json.loads(
            cli.text(path, "--format", "t4", "-o", tmp_path / "t4", "--json", *words)
        )
        (file,) = map(Path, facts["files"])
        assert len(json.loads(file.read_text(encoding="utf-8"))["results"]) == results


def test_what_cannot_be_exported_is_bad_input(cli: ExportCli, tmp_path: Path) -> None:
    out, path = tmp_path / "out", study(tmp_path, TUNED)
    (tmp_path / "t4.json").write_text("{}")
    to: list[object] = ["--format", "json", "-o", out]
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "none.jsonl", *to], "cannot read "),
        ([tmp_path / "t4.json", *to], f"{tmp_path / 't4.json'}: not an export of radialbench"),
        (
            [path, "--format", "jsonl", "-o", out],
            "unknown format of configurations 'jsonl'; did you",
        ),
        ([path, *to, "-b", "trito"], f"{path}: unknown backend 'trito'; did you mean 'triton'?"),
        ([path, *to, "-d", "H100"], f"{path} has nothing of a kernel on 'H100'; it has Example GP"),
        ([path, "--format", "json", "-o", path / "x"], f"cannot write {path / 'x'}: "),
        ([path, "--format", "t4", "-o", out, "--storage", "nowhere"], "cannot use the storage now"),
    ]
    for words, message in cases:
        assert cli.refused(*words).startswith(message), words
    assert not out.exists()


def test_a_full_disk_is_not_bad_input(
    cli: ExportCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study(tmp_path, TUNED)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = cli(path, "--format", "json", "-o", tmp_path / "x.json")
    assert code == 1
    why = "No space left on device; choose another place"
    assert err == f"radialbench: cannot write {tmp_path / 'x.json'}: {why}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["study.jsonl"],
        ["study.jsonl", "--format", "json"],
        ["study.jsonl", "-o", "x"],
        ["study.jsonl", "--check", "--format", "json"],
        ["study.jsonl", "--check", "-o", "x"],
        ["tables", "radial", "-o", "x"],
        ["table", "radial"],
        ["table", "radial", "-o", "x", "--block-m", "0"],
    ],
)
def test_bad_usage(cli: ExportCli, words: list[str]) -> None:
    code, _, err = cli(*words)
    assert code == 2
    assert "Usage: radialbench export" in err


class Measured:
    """Takes half the default's time for every other configuration, without a process."""

    asked: list[tuple[str, list[KernelConfig]]]
    factor: float

    def __init__(self, case: Any, pool: object) -> None:
        self.case = case

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        self.asked.append((self.case.mask.label, [*configs]))
        times = [2.0, 2.0 * self.factor]
        return [
            Trial(config, TrialOutcome.OK, None, tuple(ms + i / 1e4 for i in range(20)))
            for config, ms in zip(configs, times, strict=True)
        ]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> type[Measured]:
    monkeypatch.setattr(Measured, "asked", [], raising=False)
    monkeypatch.setattr(Measured, "factor", 0.5, raising=False)
    monkeypatch.setattr(tuning, "LiveEvaluator", Measured)
    return Measured


def of(key: TuningKey, record: TuningRecord) -> TuningRecord:
    """The same record, of another problem."""
    return replace(record, key=key, mask=MaskIdentity("radial", key.mask_fingerprint))


def test_what_was_exported_is_measured_again(
    cli: ExportCli, tmp_path: Path, measured: type[Measured]
) -> None:
    suite, out = small.written(tmp_path), tmp_path / "x.json"
    keys = [job.key for job in jobs_of(tunable_cases(small.cases(), "cpu"))]
    gains = of(keys[0], TUNED)
    records = [
        *(gains, of(keys[1], kept())),
        *(of(replace(keys[0], mask_fingerprint="none"), TUNED), TUNED),
    ]
    cli.text(study(tmp_path, *records), "--format", "json", "-o", out)
    printed = cli.text("--check", out, "--suite", suite)
    assert printed.splitlines()[-1] == (
        "1 measured again, 1 of them sound; 1 are of problems in none of the suites, 1 keep the "
        "default, 1 are of other devices"
    )
    assert measured.asked == [("radial", [gains.default, gains.config])]
    measured.factor = 1.5
    code, printed, _ = cli(out, "--check", "--suite", suite, "--json")
    assert code == 1
    (fact,) = map(json.loads, printed.splitlines())
    assert (fact["problem"], fact["verdict"]) == ("radial/2x3x5/h2d8/cpu", "slower")


def test_problems_are_found_in_the_shipped_suites(
    cli: ExportCli, tmp_path: Path, measured: type[Measured]
) -> None:
    jobs = jobs_of(tunable_cases(plan(load_suite("smoke")), "cpu", ["cpu"]))
    path = study(tmp_path, *(of(job.key, TUNED) for job in jobs))
    printed = cli.text("--check", path)
    assert printed.splitlines()[-1].startswith(f"{len(jobs)} measured again, {len(jobs)} of them ")
    assert len(measured.asked) == len(jobs)


def test_what_is_of_another_machine_cannot_be_measured_here(
    cli: ExportCli, tmp_path: Path, measured: type[Measured]
) -> None:
    path = study(tmp_path, TUNED, tuned(heads=40))
    printed = cli.refused("--check", path)
    assert printed.startswith("the configurations are of Example GPU, and this machine has ")
    assert printed.endswith(f"{device_name('cpu')}: nothing can be measured here")
    path = study(tmp_path, fresh("cpu"))
    printed = cli.refused("--check", path, "--suite", small.written(tmp_path))
    assert printed.startswith("none of the 1 configurations of this machine is of a problem in ")
    assert printed.endswith("small.yaml; name a suite that has it with --suite")
    assert cli.refused("--check", path).endswith("a problem in the shipped suites; name a suite "
                                                 "that has it with --suite")  # fmt: skip
    assert cli.refused("--check", path, "--suite", "waan").startswith("unknown suite 'waan'")
    assert not measured.asked


def test_a_table_is_written_and_read_back(cli: ExportCli, tmp_path: Path) -> None:
    file = tmp_path / "table.npz"
    table = compile_mask(load_mask("radial", decay=0.5), GRID, 16, 16)
    text = cli.text("table", "radial", *SMALL, "--set", "decay=0.5", "-o", file)
    assert BlockTable.load(str(file)) == table
    assert text == (
        f"{file}: radial(decay=0.5) on 4x5x6, {table.full.nnz} full and {table.partial.nnz} "
        f"partial blocks of 16×16 tokens, {file.stat().st_size:,} bytes\n"
    )
    facts = json.loads(cli.text("table", "radial", *SMALL, "--out", file, "--json"))
    assert (facts["file"], facts["format"], facts["added_pairs"]) == (str(file), "npz", 0)
    assert facts["table"]["fingerprint"] == BlockTable.load(str(file)).fingerprint


def test_a_table_of_blocks_given_at_run_time_is_written(cli: ExportCli, tmp_path: Path) -> None:
    blocks, out = tmp_path / "blocks.npy", tmp_path / "table.npz"
    np.save(blocks, np.zeros((2, 2), np.bool_))
    small = ("--grid", "2x5x12", "--set", "block=60", "--block-m", 60, "--block-n", 60)
    cli.text("table", "radial_or_table", "-o", out, *small, "--table", f"selected={blocks}")
    expected = compile_mask(load_mask("radial"), TokenGrid(2, 5, 12), 60, 60)
    assert BlockTable.load(out) == expected


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_table_is_written_for_every_library(cli: ExportCli, name: str, tmp_path: Path) -> None:
    file = tmp_path / "table.npz"
    words = ["table", "dense", "--grid", "4x5x6", "--format", name, "-o", file]
    cli.text(*words, "--block-m", 128, "--block-n", 64)
    with np.load(file, allow_pickle=False) as arrays:
        assert json.loads(arrays["header"].tobytes())["block_n"] == 64


def test_partial_blocks_are_refused_or_filled(cli: ExportCli, tmp_path: Path) -> None:
    file = tmp_path / "table.npz"
    words = ["table", "radial", *SMALL, "--format", "bsr", "-o", file]
    table = compile_mask(load_mask("radial"), GRID, 16, 16)
    printed = cli.refused(*words)
    assert printed.startswith("BSR has no partial blocks, and radial")
    assert not file.exists()
    lines = cli.text(*words, "--fill-partial").splitlines()
    with np.load(file, allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
    assert header["added_pairs"] > 0
    assert lines[1] == (
        f"partial blocks attend whole: {header['added_pairs']:,} pairs more than the mask's "
        f"{table.pairs:,}, another mask"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "flux"], "unknown export format 'flux'; did you mean 'flex'?"),
        (["--format", "flex", "--fill-partial"], "the format flex takes no partial: it keeps part"),
        (["--format", "sparge", "--block-n", "128"], "SpargeAttn on sm80 has blocks of 128×64 to"),
        (
            ["--format", "sparge", "--arch", "sm99"],
            "unknown architecture of SpargeAttn 'sm99'; did",
        ),
        (["-o", "/no/such/folder/a.npz"], "cannot write /no/such/folder/a.npz: No such file or di"),
    ],
)
def test_what_a_format_cannot_say_is_refused(
    cli: ExportCli, words: list[str], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "x.npz"
    assert cli.refused("table", "radial", *SMALL, "-o", out, *words).startswith(message)
    assert not out.exists()


def test_errors_of_an_export_name_the_options_that_mend_it(cli: ExportCli, tmp_path: Path) -> None:
    words = ["table", "radial", "--grid", "4x15x16", "--format", "sparge", "-o", tmp_path / "x.npz"]
    assert cli.refused(*words, "--block-m", 64).endswith("(--block-m 128 --block-n 64)")
    assert "(--fill-partial) attends them whole" in cli.refused(*words)
    assert "128×64 tokens" in cli.text(*words, "--fill-partial")
    assert "64×128 tokens" in cli.text(*words, "--fill-partial", "--arch", "sm90")


def test_both_have_help(cli: ExportCli) -> None:
    printed = cli.text("--help")
    assert "configs" in printed
    assert "table" in printed
    for verb in ("configs", "table"):
        assert f"radialbench export {verb}" in cli.text(verb, "--help")
