"""Study: a search's trials in a study of Optuna's, where a kill at any moment loses no trial.

The whole outcome of a trial is in its user attributes, `outcome` last: a trial that has one has
ended, whatever its state. A running trial has an owner. When that process is dead, the trial fails,
and its configuration returns to the queue.
"""

import fcntl
import hashlib
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import OptunaError
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from radialbench.autotune.space import Candidates, fields_of
from radialbench.autotune.trials import Store, Trial, TrialOutcome
from radialbench.errors import AutotuneError
from radialbench.kernels.measure.environment import host
from radialbench.reading import check_regular
from radialbench.records.codec import from_dict
from radialbench.records.problem import KernelConfig

LOSSES = 3
"""Lost processes after which a configuration is taken as their cause."""

ABANDONED_SECONDS = 3600.0
"""Trials take minutes at most: an older one of another machine was left by a dead process."""

BUSY_SECONDS = 600
"""How long SQLite waits for another process that writes; a lock on a slow disk takes a while."""

RACES = ("already exists", "unique constraint", "duplicate key")
"""What databases say where two processes create the same tables."""

RACE_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts to open such a database."""

LINE = b'{"op_code":'
"""Start of a line of a journal."""


class Study(Store):
    """A `Store` in a study of Optuna's, which other processes may share.

    Args:
        url: `journal:PATH`, or a URL of SQLAlchemy's, such as `sqlite:///PATH` or
            `postgresql://USER@HOST/NAME`.
        name: Name of the search there.
        candidates: The configurations of the search.

    Raises:
        AutotuneError: It cannot be opened, or holds a search of another space under this name.
    """

    def __init__(self, url: str, name: str, candidates: Candidates) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._url = url
        space = candidates.space
        self._axes: dict[str, BaseDistribution] = {
            axis.name: CategoricalDistribution(axis.values) for axis in space.axes
        }
        self._running: optuna.Trial | None = None
        self._queued: set[KernelConfig] = set()
        with storage_errors(url, KeyError, ValueError, AssertionError, ImportError):
            self._study = optuna.create_study(
                storage=open_storage(url),
                study_name=name,
                load_if_exists=True,
                # Everything is in the queue before it is asked for.
                sampler=optuna.samplers.RandomSampler(),
            )
        with storage_errors(url):
            self._check_space({axis.name: list(axis.values) for axis in space.axes})
            self._study.set_user_attr("default", asdict(candidates.default))
            self._study.set_user_attr("rejected", candidates.rejections)

    def trials(self) -> list[Trial]:
        """Return those that have ended."""
        with storage_errors(self._url):
            return [_trial(one.user_attrs) for one in self._kept() if _ended(one)]

    def add(self, trials: Iterable[Trial]) -> None:
        """Add trials that ended elsewhere, of configurations that have none."""
        with storage_errors(self._url):
            known = {_config(one) for one in self._kept()}
            for trial in trials:
                if trial.config not in known:
                    self._add(trial)

    def taken(self) -> frozenset[KernelConfig]:
        """Return the configurations that other processes are trying, and those in the queue."""
        with storage_errors(self._url):
            states = (TrialState.RUNNING, TrialState.WAITING)
            return frozenset(_config(one) for one in self._kept() if one.state in states)

    def waiting(self) -> KernelConfig | None:
        """Return the first in the queue, after the trials of dead processes are back in it."""
        with storage_errors(self._url):
            self._recover()
            queue = self._queue()
            return _config(queue[0]) if queue else None

    def begin(self, config: KernelConfig) -> KernelConfig | None:
        """Start the first in the queue; the configuration joins it if it is empty."""
        with storage_errors(self._url):
            if not self._queue():
                self._put(config)
            self._running = self._study.ask(self._axes)
            self._running.set_user_attr("owner", trial_owner())
            number = self._running.number
            mine = next((one for one in self._kept() if one.number == number), None)
            if mine is None or self._is_copy(mine):
                self._running.set_user_attr("copy", True)
                self._study.tell(self._running, state=TrialState.FAIL)
                return None
            return _config(mine)

    def end(self, trial: Trial) -> None:
        """Keep the running trial's result."""
        assert self._running is not None, "a trial starts before it ends"
        with storage_errors(self._url):
            for name, value in _attributes(trial).items():
                self._running.set_user_attr(name, value)
            self._close(self._running.number, trial)
        self._running = None

    def put_back(self) -> None:
        """Fail the running trial; the next process tries it again."""
        assert self._running is not None, "a trial starts before it is put back"
        with storage_errors(self._url):
            self._running.set_user_attr("interrupted", True)
            self._study.tell(self._running, state=TrialState.FAIL)
        self._running = None

    def finals(self) -> list[Trial]:
        """Return the trials of the runoff, if nothing was tried since."""
        with storage_errors(self._url):
            kept = self._study.user_attrs.get("final", {"after": -1})
            if kept["after"] != len(self.trials()):
                return []
            return [_trial(entry) for entry in kept["trials"]]

    def keep_finals(self, finals: Sequence[Trial]) -> None:
        """Keep the trials of the runoff."""
        entries = [{"config": asdict(one.config)} | _attributes(one) for one in finals]
        with storage_errors(self._url):
            kept = {"after": len(self.trials()), "trials": entries}
            self._study.set_user_attr("final", kept)

    def _kept(self) -> list[FrozenTrial]:
        return _own_trials(self._study)

    def _queue(self) -> list[FrozenTrial]:
        return [one for one in self._kept() if one.state == TrialState.WAITING]

    def _put(self, config: KernelConfig) -> None:
        params = self._params(config)
        kept = {"config": asdict(config), "owner": trial_owner()}
        self._queued.add(config)
        self._study.enqueue_trial(params, user_attrs=kept)

    def _params(self, config: KernelConfig) -> dict[str, Any]:
        fields = fields_of(config)
        return {name: fields[name] for name in self._axes}

    def _close(self, number: int, trial: Trial) -> None:
        state = TrialState.FAIL if trial.ms is None else TrialState.COMPLETE
        self._study.tell(number, trial.ms, state=state, skip_if_finished=True)

    def _is_copy(self, mine: FrozenTrial) -> bool:
        """Return whether another trial of the configuration has ended, or runs and was first."""
        others = [
            t for t in self._kept() if _config(t) == _config(mine) and t.number != mine.number
        ]
        first = [t.number < mine.number and t.state == TrialState.RUNNING for t in others]
        return any(first) or any(map(_ended, others))

    def _check_space(self, axes: dict[str, list[Any]]) -> None:
        kept = self._study.user_attrs.get("space")
        if kept is None:
            self._study.set_user_attr("space", axes)
        elif kept != axes:
            raise AutotuneError(
                f"{without_password(self._url)} holds a search of another space for "
                f"{self._study.study_name}: {kept}, now {axes}; choose another storage"
            )

    def _recover(self) -> None:
        """End the trials of dead processes; return those without an outcome to the queue."""
        for one in self._kept():
            if one.state == TrialState.RUNNING and self._is_abandoned(one):
                if _ended(one):
                    self._close(one.number, _trial(one.user_attrs))
                else:
                    self._study.tell(one.number, state=TrialState.FAIL, skip_if_finished=True)
        kept = self._kept()
        done = {_config(t) for t in kept if _ended(t) or t.state != TrialState.FAIL}
        lost = [t for t in kept if _config(t) not in done]
        deaths = Counter(_config(t) for t in lost if "interrupted" not in t.user_attrs)
        for config in dict.fromkeys(map(_config, lost)):
            if deaths[config] < LOSSES:
                self._put(config)
            else:
                reason = f"the tuning process ended {LOSSES} times while it was tried"
                self._add(Trial(config, TrialOutcome.CRASHED, reason))

    def _is_abandoned(self, one: FrozenTrial) -> bool:
        """Return whether the process of a running trial is dead."""
        owner = one.user_attrs["owner"]
        # What this process queued has its name until the process that runs it adds its own.
        taken = owner.split()[:3] == trial_owner().split()[:3] and _config(one) in self._queued
        return not taken and not is_alive(owner)

    def _add(self, trial: Trial) -> None:
        kept = {"config": asdict(trial.config), "owner": trial_owner()}
        self._study.add_trial(
            create_trial(
                state=TrialState.FAIL if trial.ms is None else TrialState.COMPLETE,
                value=trial.ms,
                params=self._params(trial.config),
                distributions=self._axes,
                user_attrs=kept | _attributes(trial),
            )
        )


def read_trials(url: str, names: Iterable[str]) -> dict[str, list[Trial]]:
    """Return the trials that have ended by the name of their study, of studies that exist.

    Raises:
        AutotuneError: The storage cannot be read.
    """
    with storage_errors(url, ValueError, AssertionError, ImportError):
        storage = open_storage(url)
        known = set(optuna.get_all_study_names(storage))
        studies = {
            name: optuna.load_study(study_name=name, storage=storage)
            for name in names
            if name in known
        }
        return {
            name: [_trial(one.user_attrs) for one in _own_trials(study) if _ended(one)]
            for name, study in studies.items()
        }


def _own_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of radialbench, without copies."""
    every = study.get_trials(deepcopy=False)
    return [t for t in every if "config" in t.user_attrs and "copy" not in t.user_attrs]


def _ended(one: FrozenTrial) -> bool:
    return "outcome" in one.user_attrs


def _config(one: FrozenTrial) -> KernelConfig:
    return _config_of(one.user_attrs["config"])


def _trial(kept: dict[str, Any]) -> Trial:
    config, outcome = _config_of(kept["config"]), TrialOutcome(kept["outcome"])
    return Trial(config, outcome, kept.get("reason"), kept["samples_ms"])


def _config_of(kept: dict[str, Any]) -> KernelConfig:
    # Others are read so often that it shows.
    return from_dict(KernelConfig, kept) if kept.get("gradients") else KernelConfig(**kept)


def _attributes(trial: Trial) -> dict[str, Any]:
    """Return the user attributes of a trial that has ended, in the order of writing."""
    kept: dict[str, Any] = {"samples_ms": list(trial.samples_ms)}
    if trial.reason is not None:
        kept["reason"] = trial.reason
    return kept | {"outcome": trial.outcome.value}


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open a storage of Optuna's, or create it; call it within `storage_errors`."""
    if url.startswith("journal:"):
        return open_journal(Path(url.removeprefix("journal:")))
    if "://" not in url:
        raise ValueError("there is no such kind of storage")
    busy = {"connect_args": {"timeout": BUSY_SECONDS}} if url.startswith("sqlite") else {}
    for pause in RACE_PAUSES:
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=busy)
        except _errors() as error:
            # Another process creates the same tables: what is missing is created the next time.
            text = f"{error.__cause__ or error}".lower()
            if not any(sign in text for sign in RACES):
                raise
            time.sleep(pause * (1 + random.random()))
    return optuna.storages.RDBStorage(url, engine_kwargs=busy)


@contextmanager
def storage_errors(url: str, *kinds: type[Exception]) -> Iterator[None]:
    """Report errors of a storage in one line, without its password."""
    try:
        yield
    except _errors(*kinds) as error:
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise AutotuneError(
            f"cannot use the storage {without_password(url)}: {reason[:300]}. A storage is "
            "journal:PATH, sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from None


def _errors(*kinds: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the errors that storages raise; SQLAlchemy's only where it was imported."""
    sql = sys.modules.get("sqlalchemy.exc")
    return (OSError, OptunaError, *kinds, *((sql.SQLAlchemyError,) if sql else ()))


def without_password(url: str) -> str:
    """Return a storage's URL with stars for its password."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url


def trial_owner() -> str:
    """Return the owner of a trial that starts now: this process, and the time."""
    return f"{_place()} {os.getpid()} {_started(os.getpid())} {time.time():.0f}"


def is_alive(owner: str) -> bool:
    """Return whether the owner of a trial may still run it; this process does not."""
    machine, pid, started, moment = owner.split()
    if machine != _place():
        # A moment far ahead is of a clock that was set back since.
        return abs(time.time() - float(moment)) < ABANDONED_SECONDS
    return int(pid) != os.getpid() and _started(int(pid)) == started


def _place() -> str:
    """Return what the numbers of processes count in: the machine, its boot, and the container."""
    facts = [host()]
    with suppress(OSError):
        facts += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()]
        facts += [str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()[:12]


def _started(pid: int) -> str | None:
    """Return when a process started, which differs from a later one of the same number.

    None if there is none, or it is a zombie.
    """
    try:
        stats = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    else:
        return None if stats[0] in "ZX" else stats[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"


class JournalLock:
    """Lets one process write at a time.

    The system releases it when its process ends, however it ends; Optuna's own lock files would
    stay, and the next process would wait half a minute. Acquiring it removes a line that a kill has
    left incomplete, as the next line would follow it directly.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: BinaryIO | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        held = self._path.open("rb+")
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            _cut_incomplete_line(held)
        except BaseException:
            held.close()
            raise
        self._held = held
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._held is not None:
            self._held.close()
            self._held = None


def open_journal(path: Path) -> JournalStorage:
    """Open a journal, or create it and its folder.

    Raises:
        OSError: It cannot be read or written.
        ValueError: It is another file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(len(LINE))
        if not LINE.startswith(start):
            raise ValueError("it is another file, no journal of Optuna's")
    backend = JournalFileBackend(str(path), lock_obj=JournalLock(path))  # type: ignore[arg-type]
    if not os.access(path, os.W_OK):
        raise PermissionError(13, "it cannot be written", str(path))
    return JournalStorage(backend)


def _cut_incomplete_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    start = size
    tail = b""
    while start > 0 and b"\n" not in tail:
        start = max(0, start - 4096)
        file.seek(start)
        tail = file.read(size - start)
    incomplete = len(tail) - tail.rfind(b"\n") - 1
    if incomplete:
        file.truncate(size - incomplete)
