"""A study keeps every trial, whoever dies, and tells in a line what is wrong with a storage."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from radialbench.autotune import owner
from radialbench.autotune.owner import Beat, Signs, is_alive, is_here, trial_owner
from radialbench.autotune.space import Axis, Candidates, Space
from radialbench.autotune.storage import BUSY_SECONDS
from radialbench.autotune.study import LOSSES, Study
from radialbench.autotune.trials import Store, Trial, TrialOutcome, study_name
from radialbench.autotune.tuner import open_store, tune
from radialbench.errors import AutotuneError
from radialbench.records.problem import KernelConfig
from tests.autotune import landscape
from tests.autotune.fake import DEFAULT, SPACE, Fake, among

CONFIGS = list(SPACE.configs())
CRASH = Trial(CONFIGS[1], TrialOutcome.CRASHED, "ended by SIGABRT")
DEAD = f"{trial_owner().split()[0]} 1 1 0"
"""An owner of this machine that is another process than the one of its number."""
ELSEWHERE = "000000000000 1 1 0"
"""An owner on another machine."""


def fine(config: KernelConfig) -> Trial:
    return Trial(config, TrialOutcome.OK, None, (2.0, 1.0, 3.0))


@pytest.fixture(params=["journal:{}/deep/tuning.journal", "sqlite:///{}/tuning.db"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path)


def opened(url: str) -> Study:
    store = open_store(url, "problem", among())
    assert isinstance(store, Study)
    return store


def raw(url: str) -> optuna.Study:
    """Open the study as others do, such as the dashboard."""
    storage: optuna.storages.BaseStorage | str = url
    if url.startswith("journal:"):
        backend = optuna.storages.journal.JournalFileBackend(url.removeprefix("journal:"))
        storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name="problem", storage=storage)


def test_trials_are_kept(url: str) -> None:
    store = opened(url)
    assert store.begin(CONFIGS[0])
    store.end(fine(CONFIGS[0]))
    assert store.begin(CONFIGS[1])
    store.end(CRASH)
    for one in (store, opened(url)):
        assert one.trials() == [fine(CONFIGS[0]), CRASH]
        assert one.view().waiting is None
        assert one.view().taken == frozenset()


def test_others_can_read_it(url: str) -> None:
    store = opened(url)
    store.begin(CONFIGS[0])
    store.end(fine(CONFIGS[0]))
    store.begin(CONFIGS[1])
    store.end(CRASH)
    study = raw(url)
    good, bad = study.trials
    assert (good.state, good.value) == (TrialState.COMPLETE, 2.0)
    assert good.params == {"block_m": 32, "block_n": 32}
    assert good.user_attrs["samples_ms"] == [2.0, 1.0, 3.0]
    assert (bad.state, bad.user_attrs["outcome"]) == (TrialState.FAIL, "crashed")
    assert bad.user_attrs["reason"] == "ended by SIGABRT"
    assert study.user_attrs["space"] == {"block_m": [32, 64, 128, 256], "block_n": [32, 64, 128]}
    assert study.best_trial.number == 0


def test_a_search_goes_on(url: str) -> None:
    whole = Fake(noise=0)
    expected = tune(among(), whole, search="tpe", trials=11)
    for trials in (3, 7):
        tune(among(), Fake(noise=0), trials=trials, storage=url, study="problem")
    rest = Fake(noise=0)
    tuned = tune(among(), rest, trials=11, storage=url, study="problem")
    assert len(rest.tried) == 4
    assert tuned.trials == expected.trials
    assert tuned.decision == expected.decision


def test_what_is_finished_is_not_measured_again(url: str) -> None:
    first = tune(among(), Fake(), storage=url, study="problem")
    again = Fake()
    second = tune(among(), again, storage=url, study="problem")
    assert (again.tried, again.finals) == ([], [])
    assert second.decision == first.decision


def test_trials_that_ended_elsewhere_are_kept_once(url: str) -> None:
    store = opened(url)
    store.begin(CONFIGS[0])
    store.end(fine(CONFIGS[0]))
    store.begin(CONFIGS[3])
    other = Trial(CONFIGS[0], TrialOutcome.OK, None, (9.0,))
    store.add([other, CRASH, fine(CONFIGS[2]), fine(CONFIGS[3])])
    store.end(other := Trial(CONFIGS[3], TrialOutcome.OK, None, (4.0,)))
    assert set(opened(url).trials()) == {fine(CONFIGS[0]), CRASH, fine(CONFIGS[2]), other}
    states = [one.state for one in raw(url).trials if one.user_attrs["outcome"] == "crashed"]
    assert states == [TrialState.FAIL]
    assert raw(url).best_trial.value == 2.0
    memory = Store()
    memory.end(fine(CONFIGS[0]))
    memory.add([Trial(CONFIGS[0], TrialOutcome.OK, None, (9.0,)), CRASH])
    assert set(memory.trials()) == {fine(CONFIGS[0]), CRASH}


def test_studies_of_other_problems_share_a_storage(url: str) -> None:
    tune(among(), Fake(), storage=url, study="problem")
    fake = Fake()
    tune(among(), fake, storage=url, study="another")
    assert len(fake.tried) == len(CONFIGS)


def test_an_interrupted_trial_is_tried_first(url: str) -> None:
    for _ in range(LOSSES + 1):
        store = opened(url)
        store.begin(store.view().waiting or CONFIGS[2])
        store.put_back()
    assert opened(url).view().waiting == CONFIGS[2]
    assert opened(url).trials() == []


def test_an_error_while_trying_puts_back(url: str) -> None:
    class Broken(Fake):
        def quick(self, config: KernelConfig, *, best_ms: float | None) -> Trial:
            if len(self.tried) == 2:
                raise KeyboardInterrupt
            return super().quick(config, best_ms=best_ms)

    with pytest.raises(KeyboardInterrupt):
        tune(among(), Broken(), storage=url, study="problem")
    fake = Fake()
    tune(among(), fake, storage=url, study="problem")
    assert len(fake.tried) == len(CONFIGS) - 2


def left_running(url: str, config: KernelConfig, owner: str) -> int:
    """Leave a trial as a process leaves it that dies while it tries."""
    store = opened(url)
    assert store.begin(config)
    running = store._stop()
    store._storage.set_trial_user_attr(running, "owner", owner)
    return store._storage.get_trial_number_from_id(running)


def test_what_a_dead_process_has_left_is_tried_first(url: str) -> None:
    left_running(url, CONFIGS[3], DEAD)
    store = opened(url)
    assert store.view().waiting == CONFIGS[3]
    assert store.begin(CONFIGS[3])
    store.end(fine(CONFIGS[3]))
    assert store.trials() == [fine(CONFIGS[3])]
    assert store.view().waiting is None


def test_a_trial_that_ended_but_for_its_state_has_ended(url: str) -> None:
    number = left_running(url, CONFIGS[3], DEAD)
    study = raw(url)
    running = next(one for one in study.trials if one.number == number)
    for name, value in (("samples_ms", [4.0]), ("outcome", "ok")):
        study._storage.set_trial_user_attr(running._trial_id, name, value)
    store = opened(url)
    assert store.view().waiting is None
    assert store.trials() == [Trial(CONFIGS[3], TrialOutcome.OK, None, (4.0,))]
    assert raw(url).trials[number].state == TrialState.COMPLETE
    assert raw(url).trials[number].value == 4.0


def test_what_ends_its_process_again_and_again_is_given_up(url: str) -> None:
    for _ in range(LOSSES):
        waiting = opened(url).view().waiting
        left_running(url, waiting or CONFIGS[3], DEAD)
    store = opened(url)
    assert store.view().waiting is None
    (trial,) = store.trials()
    assert (trial.config, trial.outcome) == (CONFIGS[3], TrialOutcome.CRASHED)
    assert trial.reason == f"the tuning process ended {LOSSES} times while it was tried"


def living() -> str:
    """Name a process that is alive and not this one: its parent."""
    stat = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    machine = trial_owner().split()[0]
    return f"{machine} {os.getppid()} {stat.split()[19]} {time.time():.0f}"


def test_what_another_process_is_trying_is_left_to_it(url: str) -> None:
    left_running(url, CONFIGS[3], living())
    store = opened(url)
    assert store.view().waiting is None
    assert store.view().taken == {CONFIGS[3]}
    # Both began with the same in the same moment: the first keeps it.
    assert not store.begin(CONFIGS[3])
    assert store.view().waiting is None


def test_a_search_waits_for_what_others_try_and_hands_on_what_they_leave(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = left_running(url, CONFIGS[3], ELSEWHERE)
    fake = Fake()

    def later(seconds: float) -> None:
        """Another process gives signs of life, and then none for too long."""
        assert (len(fake.tried), fake.finals) == (len(CONFIGS) - 1, [])
        assert CONFIGS[3] not in fake.tried
        moments.append(moments[-1] + 0.6 * owner.SILENT_SECONDS)
        if len(moments) == 3:
            study = raw(url)
            study._storage.set_trial_user_attr(study.trials[number]._trial_id, "beat", 1)

    moments = [0.0]
    monkeypatch.setattr("radialbench.autotune.owner.time.monotonic", lambda: moments[-1])
    monkeypatch.setattr("radialbench.autotune.tuner.time.sleep", later)
    tuned = tune(among(), fake, storage=url, study="problem")
    assert len(moments) == 5
    assert fake.tried[-1] == CONFIGS[3]
    assert len(tuned.trials) == len(CONFIGS)


def test_who_was_taken_for_dead_keeps_nothing(url: str) -> None:
    store, other = opened(url), opened(url)
    assert store.begin(CONFIGS[3])
    assert other.view().waiting == CONFIGS[3]  # This process is none of the living to itself.
    assert other.begin(CONFIGS[3])
    store.end(Trial(CONFIGS[3], TrialOutcome.OK, None, (9.0,)))
    other.end(fine(CONFIGS[3]))
    assert opened(url).trials() == [fine(CONFIGS[3])]
    assert store.begin_runoff()
    assert opened(url).begin_runoff()
    store.put_back()


def test_one_process_at_a_time_measures_the_runoff(url: str) -> None:
    store = opened(url)
    store.begin(CONFIGS[0])
    store.end(fine(CONFIGS[0]))
    assert store.begin_runoff()
    running = store._running
    assert running is not None
    store._storage.set_trial_user_attr(running, "owner", living())
    assert not opened(url).begin_runoff()
    store.keep_finals([fine(CONFIGS[0])])
    assert not opened(url).begin_runoff()
    assert opened(url).finals() == [fine(CONFIGS[0])]
    assert opened(url).trials() == [fine(CONFIGS[0])]


def test_a_running_trial_gives_signs_of_life(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.001)
    store = opened(url)
    assert store.begin(CONFIGS[0])
    while not any("beat" in one.user_attrs for one in raw(url).trials):
        time.sleep(0.001)
    store.end(fine(CONFIGS[0]))
    beat = Beat(lambda count: pytest.fail("is ignored"))
    beat.stop()


def test_signs_of_life_are_those_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("radialbench.autotune.owner.time.monotonic", lambda: now[0])
    signs = Signs()
    for moment, sign, missing in (
        (0, None, False),
        (119, None, False),
        (121, None, True),
        (122, 1, False),
        (240, 1, False),
        (243, 1, True),
    ):
        now[0] = moment
        assert signs.are_missing(7, sign) == missing, moment


def test_versions_are_those_of_the_study(url: str) -> None:
    def opened_with(**versions: str) -> Store:
        return open_store(url, "problem", among(), {"device": "H200", **versions})

    opened_with(triton="3.6.0")
    opened_with(triton="3.6.0")
    with pytest.raises(
        AutotuneError,
        match=r"other versions for problem: triton 3\.6\.0 there, 3\.7\.1 here; choose",
    ):
        opened_with(triton="3.7.1")


def test_who_is_alive() -> None:
    assert is_alive(living())
    machine, pid, started, begun = living().split()
    assert not is_alive(f"{machine} {pid} 1 {begun}")
    assert not is_alive(trial_owner())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        dead = child.pid
    assert not is_alive(f"{machine} {dead} {started} {begun}")
    assert is_here(trial_owner())
    assert not is_here(ELSEWHERE)


def test_two_containers_of_one_name_leave_each_others_trials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process's number means nothing in another container, whatever the name of the host."""
    here = trial_owner()
    readlink = Path.readlink

    def elsewhere(path: Path) -> Path:
        return Path("pid:[7]") if str(path) == "/proc/self/ns/pid" else readlink(path)

    monkeypatch.setattr(Path, "readlink", elsewhere)
    there = trial_owner()
    assert there.split()[0] != here.split()[0]
    assert not is_here(here)


def test_searches_that_create_one_database_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.autotune.fake import among\n"
        "from radialbench.autotune.tuner import open_store\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "open_store(sys.argv[1], 'problem', among()); print('open')"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/studies.db"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    searches = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    for search in searches:
        assert search.stdout.readline() == "ready\n"
    for search in searches:
        search.stdin.write("\n")
        search.stdin.flush()
    assert [search.communicate() for search in searches] == 4 * [("open\n", "")]


@pytest.mark.parametrize(("said", "opens"), [("table studies already exists", 3), ("gone", 1)])
def test_what_another_process_has_just_created_is_opened_again(
    said: str, opens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    real, tries = optuna.storages.RDBStorage.__init__, []

    def late(storage: optuna.storages.RDBStorage, url: str, **options: Any) -> None:
        tries.append(options)
        if len(tries) < 3:
            raise OperationalError("CREATE TABLE", {}, Exception(said))
        real(storage, url, **options)

    monkeypatch.setattr(optuna.storages.RDBStorage, "__init__", late)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    url = f"sqlite:///{tmp_path}/x.db"
    if opens > 1:
        assert opened(url).trials() == []
    else:
        with pytest.raises(AutotuneError, match="gone"):
            opened(url)
    assert len(tries) == opens
    # A lock of another process on slow storage is waited for.
    assert tries[0] == {"engine_kwargs": {"connect_args": {"timeout": BUSY_SECONDS}}}


def test_a_child_that_nobody_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    owner = f"{trial_owner().split()[0]} {child.pid} {stat.split()[19]} 0"
    assert is_alive(owner)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(owner)
    child.communicate()


def test_a_trial_that_someone_else_queued_is_none_of_ours(url: str) -> None:
    opened(url)
    raw(url).enqueue_trial({"block_m": 32, "block_n": 32})
    fake = Fake()
    tuned = tune(among(), fake, storage=url, study="problem")
    assert len(fake.tried) == len(set(fake.tried)) == len(CONFIGS)
    assert len(tuned.trials) == len(CONFIGS)


def test_a_line_that_a_kill_cut_off_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "tuning.journal"
    url = f"journal:{path}"
    tune(among(), Fake(), trials=3, storage=url, study="problem")
    whole = path.read_bytes()
    for rest in (b'{"op_code":8,"worker_id":"a', b'{"op', b'{"op_code":8,' + b"x" * 9000):
        path.write_bytes(whole + rest)
        store = opened(url)
        assert store.begin(CONFIGS[5])
        store.put_back()
        assert len(opened(url).trials()) == 3
        lines = path.read_bytes().splitlines(keepends=True)
        assert all(line.endswith(b"\n") and json.loads(line) for line in lines)


def test_no_lock_outlives_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from radialbench.autotune.storage import JournalLock\n"
        "JournalLock(Path(sys.argv[1])).acquire(); print('held', flush=True); input()"
    )
    path = tmp_path / "tuning.journal"
    path.write_bytes(b"")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        child.kill()
    # Optuna's own locks are asked for again and again, with a pause between.
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waits for the lock"))
    opened(f"journal:{path}")


def test_a_study_of_another_space(url: str) -> None:
    opened(url)
    space = Space((Axis("block_m", (64, 128)),))
    other = Candidates(space, DEFAULT, tuple(space.configs()))
    with pytest.raises(AutotuneError, match=r"another space for problem: .* choose another"):
        open_store(url, "problem", other)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tuning.db", "there is no such kind of storage. A storage is journal:PATH, sqlite:///"),
        ("oracledb7://x/y", "the storage oracledb7://x/y: "),
        ("journal:/dev/null/x", "the storage journal:/dev/null/x: .*File exists"),
        ("sqlite:////nonexistent/x.db", "unable to open database file"),
        (
            "postgresql://me:secret@localhost:1/x",
            r"others: postgresql://me:\*\*\*@localhost:1/x; set",
        ),
        ("postgresql://localhost/x?password=secret", r"x\?password=\*\*\*; set PGPASSWORD"),
        ("grpc://me:secret@localhost:1", r"others: grpc://me:\*\*\*@localhost:1; set"),
    ],
)
def test_bad_storages(url: str, words: str) -> None:
    with pytest.raises(AutotuneError, match=words) as caught:
        opened(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["not a journal\nat all\n", "{}\n{}\n", '{"op_code": 99}\n', "["])
def test_another_file_is_no_journal_and_stays_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AutotuneError, match=r"the storage journal:.*notes\.txt: "):
        opened(f"journal:{path}")
    assert path.read_text(encoding="utf-8") == text


def test_another_database_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    with pytest.raises(AutotuneError, match="file is not a database"):
        opened(f"sqlite:///{tmp_path}/x.db")


def test_names_tell_problems_and_kernels_apart() -> None:
    key = landscape.key(0, landscape.shape(0))
    name = study_name(key, "ab12")
    assert name.startswith("triton/NVIDIA H100/0123456789abcdef/5x1024s5120/b1h8d128/bfloat16/")
    assert study_name(key, "ab13") != name
    assert study_name(landscape.key(1, landscape.shape(0)), "ab12") != name


def test_without_a_storage_nothing_is_kept() -> None:
    store = open_store(None, "", among())
    assert isinstance(store, Store)
    assert store.begin(CONFIGS[0])
    store.put_back()
    assert (store.trials(), store.view().waiting, store.view().taken) == ([], None, frozenset())
    store.end(CRASH)
    assert store.trials() == [CRASH]
