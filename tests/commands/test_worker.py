"""`radialbench worker`: what it joins, what it refuses, and that no password is seen."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench.autotune import offer as offers
from radialbench.autotune import run as tuning
from radialbench.autotune.jobs import TuningJob, jobs_of, tunable_cases
from radialbench.autotune.offer import Offer, offered, offering
from radialbench.autotune.space import SPACES, Axis, Space
from radialbench.autotune.storage import open_storage
from radialbench.autotune.trials import Trial, TrialOutcome
from radialbench.records.problem import KernelConfig
from radialbench.records.tuning_file import read_tuning
from radialbench.suites.plan import Case, plan
from radialbench.suites.read import load_suite, suite_names
from tests.commands.line import Capture, Cli
from tests.suites import small

SPACE = Space((Axis("block_m", (64, 128)), Axis("block_n", (64, 128))))
FAST = KernelConfig(64, 64)


class Timed:
    """Takes a time for every configuration, without a process; dense attention does not run."""

    tried: list[str]

    def __init__(self, case: Case, pool: object, **options: object) -> None:
        self.case = case

    def prepare(self, configs: Sequence[KernelConfig]) -> None:
        """Nothing to compile."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        self.tried.append(self.case.mask.label)
        return self._timed(config, 3)

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        return [self._timed(config, 20) for config in configs]

    def close(self) -> None:
        """Nothing to end."""

    def _timed(self, config: KernelConfig, count: int) -> Trial:
        if self.case.mask.label == "dense":
            return Trial(config, TrialOutcome.CRASHED, "fell over")
        ms = 1.0 if config == FAST else 2.0
        return Trial(config, TrialOutcome.OK, None, tuple(ms + i / 1e4 for i in range(count)))


class NoPool:
    """Processes that nobody needs."""

    def __init__(self, device: str, command: str = "") -> None:
        assert device == "cpu"

    def __enter__(self) -> "NoPool":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to end."""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Cli:
    monkeypatch.setattr(Timed, "tried", [], raising=False)
    for place in ("radialbench.autotune.live", "radialbench.autotune.run"):
        monkeypatch.setattr(f"{place}.LiveEvaluator", Timed)
        monkeypatch.setattr(f"{place}.WorkerPool", NoPool)
    monkeypatch.setitem(SPACES, "cpu", SPACE)
    monkeypatch.delenv("RADIALBENCH_CONFIGS", raising=False)
    monkeypatch.setattr("radialbench.autotune.join.POLL_SECONDS", 0.0)
    return Cli(monkeypatch, capsys, "worker")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"journal:{tmp_path}/tuning.journal"


@pytest.fixture
def jobs(cli: Cli) -> list[TuningJob]:
    return jobs_of(tunable_cases(small.cases(masks=["dense", "radial"], backends=["cpu"]), "cpu"))


@pytest.fixture
def opened(jobs: list[TuningJob], url: str) -> Iterator[None]:
    with offering(
        url, jobs, search="tpe", seed=0, trials=3, known={}, neighbours=lambda key: [FAST]
    ):
        yield


def test_a_worker_does_what_a_tune_then_writes_down(
    cli: Cli, jobs: list[TuningJob], url: str, opened: None, tmp_path: Path
) -> None:
    code, printed, err = cli("--storage", url, "--wait", "0", "--json", "--quiet")
    *events, done = map(json.loads, printed.splitlines())
    assert (code, err) == (0, "")
    assert (done["trials"], done["runoffs"]) == (4 * 3, 4)

    assert all("the default configuration does not run" in why for why in done["failed"].values())
    assert sum(event["trial"] is not None for event in events) == 12
    Timed.tried.clear()
    ends = tuning.run(jobs, NoPool("cpu"), tmp_path / "r.jsonl", storage=url, trials=3)  # type: ignore[arg-type]
    assert not Timed.tried
    assert [end.record.config for end in ends if end.record] == [FAST, FAST]
    assert len(read_tuning(tmp_path / "r.jsonl")) == 2


def test_a_worker_without_anything_to_do_ends(cli: Cli, url: str) -> None:
    code, printed, err = cli("--storage", url, "--wait", "0", "--quiet")
    assert (code, err) == (0, "")
    assert printed == "0 trials and 0 runoffs; the tune writes the records\n"


def test_what_a_tune_has_ended_is_not_joined(
    cli: Cli, jobs: list[TuningJob], url: str, tmp_path: Path
) -> None:
    tuning.run(jobs, NoPool("cpu"), tmp_path / "r.jsonl", storage=url, trials=1)  # type: ignore[arg-type]
    assert offered(url, open_storage(url)) == []


def test_a_worker_of_other_versions_is_refused(
    cli: Cli, url: str, opened: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offers, "compiler_version", lambda backend: {"triton": "9.9"})
    monkeypatch.setattr(offers, "device_name", lambda device: "another CPU")
    code, _, err = cli("--storage", url, "--wait", "0", "--quiet")
    assert code == 2
    assert f"{url} has searches of another device or of other versions only: device " in err
    assert "there, another CPU here, " in err
    assert "triton None there, 9.9 here" in err
    assert not Timed.tried


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@nowhere.invalid/x",
        "postgresql://nowhere.invalid/x?password=hunter2&a=b",
        "mysql+pymysql://me:hun@ter:hunter2@nowhere.invalid/x",
    ],
)
@pytest.mark.parametrize("verb", ["worker", "tune"])
def test_a_password_is_refused_and_not_repeated(cli: Cli, url: str, verb: str) -> None:
    cli.first = (verb,)
    code, printed, err = cli("--storage", url)
    assert code == 2
    assert "***" in err
    assert "set PGPASSWORD, or write it to ~/.pgpass" in err
    assert "hunter2" not in printed + err
    assert "hun@" not in err


def test_an_offer_is_read_as_it_was_made(cli: Cli, url: str) -> None:
    """Every mask and head plan of the shipped suites, on every shape."""
    seen = set()
    for name in suite_names():
        for case in plan(load_suite(name)):
            if case.mask in seen or case.inputs is not None:
                continue
            seen.add(case.mask)
            offer = Offer(
                1, "x", case.mask.to_yaml(), case.problem, "cpu", case.config, case.config_source,
                "cpu", "tpe", 0, 1, (),
            )  # fmt: skip
            again = offer.case()
            assert (again.problem, again.mask.fingerprint) == (case.problem, case.mask.fingerprint)
    assert len(seen) > 10


def test_what_needs_files_of_a_machine_is_not_offered(jobs: list[TuningJob], url: str) -> None:
    job = jobs[0]
    there: Any = object()
    case = replace(job.case, inputs=there)
    with offering(
        url,
        [replace(job, case=case)],
        search="tpe",
        seed=0,
        trials=1,
        known={},
        neighbours=lambda key: [],
    ):
        assert offered(url, open_storage(url)) == []


def test_an_offer_of_another_meaning_is_not_worked_on(
    cli: Cli, url: str, opened: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radialbench.maskgen.library import load_mask

    monkeypatch.setattr(offers, "parse_mask", lambda mapping: load_mask("sta"))
    code, printed, _ = cli("--storage", url, "--wait", "0", "--quiet")
    assert code == 1
    assert "means something else to this version of radialbench" in printed
    assert not Timed.tried
