"""Any number of processes join the searches of a storage: nothing is lost, nothing done twice."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from radialbench.autotune.replay import Replay, recorded_candidates
from radialbench.autotune.trials import Trial, measured
from radialbench.autotune.tuner import tune
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from tests.autotune import crew
from tests.autotune.crew import PROBLEMS, SEATS, SEED, TRIALS
from tests.autotune.postgres import PASSWORD, free_port, server, wait_for

KILLS = 20


def crewed(url: str, kills: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.autotune.crew", url, str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def check_whole(url: str, told: dict[str, Any], names: Sequence[str] = PROBLEMS) -> None:
    """Check that every trial was kept once, and that a tune only writes down what was found."""
    said = [words.split()[1:] for words in told["said"]]
    for name in names:
        search = [rest for word, problem, *rest in said if problem == name and word == "tries"]
        kept = {place for word, problem, place in said if (word, problem) == ("keeps", name)}
        trials = crew.study_of(url, name).trials()
        places = [one.config for one in crew.recorded(name)]
        assert len({one.config for one in trials}) == len(trials)
        # Two may begin with the last one at the same moment.
        assert TRIALS <= measured(trials) < TRIALS + SEATS
        assert kept <= {str(places.index(one.config)) for one in trials}, "a trial was lost"
        assert len(search) <= len(trials) + told["kills"]
        again = Replay(crew.recorded(name), seed=SEED)
        assert all(one == again.quick(one.config, best_ms=None) for one in trials)
        after = tune(
            recorded_candidates(crew.recorded(name)),
            Unused(crew.recorded(name)),
            trials=TRIALS,
            storage=url,
            study=name,
            versions=crew.offer_of(name).versions,
        )
        assert after.trials == tuple(trials)


class Unused(Replay):
    """A tune that comes after all is done has nothing to measure."""

    def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
        raise AssertionError(config)

    def runoff(self, configs: Sequence[KernelConfig]) -> list[Trial]:
        raise AssertionError(configs)


def test_eight_workers_share_searches(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/tuning.journal"
    crew.offer_all(url)
    told = crewed(url, 0)
    check_whole(url, told)
    words = Counter(words.split()[1] for words in told["said"])
    assert words["tries"] == words["keeps"]
    assert words["measures"] >= len(PROBLEMS)


def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    url = f"journal:{tmp_path}/tuning.journal"
    crew.offer_all(url)
    told = crewed(url, KILLS)
    assert told["kills"] >= KILLS / 4
    check_whole(url, told)


def test_workers_of_a_database_that_asks_for_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    with server() as url:
        with pytest.raises(AutotuneError, match="no password supplied"):
            crew.offer_all(url)
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
        crew.offer_all(url, ["one"])
        told = crewed(url, 3)
        assert told["kills"] >= 1
        check_whole(url, told, ["one"])
        everything = read_all(url)
        assert "outcome" in everything
        assert PASSWORD not in everything
    with pytest.raises(
        AutotuneError,
        match=r"cannot use the storage postgresql://me@127.*See whether it runs on 127",
    ):
        crew.offer_all(url)


def read_all(url: str) -> str:
    """Read what a database holds of searches."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    tables = ("studies", "study_user_attributes", "trial_user_attributes")
    with engine.connect() as connection:
        rows = [
            row
            for name in tables
            for row in connection.execute(sqlalchemy.text(f"SELECT * FROM {name}"))
        ]
    engine.dispose()
    return repr(rows)


def test_workers_of_a_proxy(tmp_path: Path) -> None:
    for library in ("grpc", "google.protobuf"):
        pytest.importorskip(library)
    code = (
        "import sys, optuna\n"
        "from radialbench.autotune.storage import open_storage\n"
        "storage = open_storage(sys.argv[1])\n"
        "optuna.storages.run_grpc_proxy_server(storage, host='127.0.0.1', port=int(sys.argv[2]))"
    )
    port = free_port()
    url = f"grpc://127.0.0.1:{port}"
    command = [sys.executable, "-c", code, f"journal:{tmp_path}/tuning.journal", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as proxy:
        try:
            wait_for(port)
            crew.offer_all(url, ["one"])
            check_whole(url, crewed(url, 0), ["one"])
        finally:
            proxy.kill()
