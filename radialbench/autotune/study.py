"""Study: a search's trials in a study of Optuna's, where a kill at any moment loses no trial.

The whole outcome of a trial is in its user attributes, `outcome` last: a trial that has one has
ended, whatever its state. A running trial has an owner, which gives signs of life. When that
process is dead, the trial fails, and its configuration is tried again before any other. The runoff
is a trial without a configuration, so that one process at a time measures it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from radialbench.autotune.owner import Beat, Signs, is_alive, is_here, trial_owner
from radialbench.autotune.space import Candidates, fields_of
from radialbench.autotune.storage import open_storage, storage_errors, without_password
from radialbench.autotune.trials import Store, Trial, TrialOutcome, View
from radialbench.errors import AutotuneError
from radialbench.records.codec import from_dict
from radialbench.records.problem import KernelConfig

LOSSES = 3
"""Lost processes after which a configuration is taken as their cause."""


class Study(Store):
    """A `Store` in a study of Optuna's, which other processes may share.

    Args:
        url: A storage, as for `open_storage`.
        name: Name of the search there.
        candidates: The configurations of the search.
        versions: What times depend on besides: the device and libraries. A study has one of each.
        storage: The storage, if it is open already.

    Raises:
        AutotuneError: It cannot be opened, or holds a search of another space or of other versions
            under this name.
    """

    def __init__(
        self,
        url: str,
        name: str,
        candidates: Candidates,
        versions: Mapping[str, str] = MappingProxyType({}),
        storage: optuna.storages.BaseStorage | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._url, self._name = url, name
        space = candidates.space
        self._axes: dict[str, BaseDistribution] = {
            axis.name: CategoricalDistribution(axis.values) for axis in space.axes
        }
        self._running: int | None = None
        self._beat: Beat | None = None
        self._signs = Signs()
        with storage_errors(url, KeyError, ValueError, AssertionError, ImportError):
            study = optuna.create_study(
                storage=storage or open_storage(url), study_name=name, load_if_exists=True
            )
        self._storage, self._id = study._storage, study._study_id
        with storage_errors(url):
            self._check("space", {axis.name: list(axis.values) for axis in space.axes})
            self._check("versions", dict(versions))
            self._keep("default", asdict(candidates.default))
            self._keep("rejected", candidates.rejections)

    def trials(self) -> list[Trial]:
        """Return those that have ended."""
        with storage_errors(self._url):
            return [_trial(one.user_attrs) for one in self._own() if _ended(one)]

    def add(self, trials: Iterable[Trial]) -> None:
        """Add trials that ended elsewhere, of configurations that have none."""
        with storage_errors(self._url):
            known = {_config(one) for one in self._own()}
            for trial in trials:
                if trial.config not in known:
                    self._add(trial)

    def view(self) -> View:
        """Return the state of the search; trials that dead processes run end before."""
        with storage_errors(self._url):
            own = own_trials(self._living())
            done = {_config(t) for t in own if _ended(t) or t.state == TrialState.RUNNING}
            lost = [t for t in own if _config(t) not in done]
            died = [t for t in lost if t.state == TrialState.FAIL and not _interrupted(t)]
            deaths = Counter(map(_config, died))
            waiting = next((_config(t) for t in lost if deaths[_config(t)] < LOSSES), None)
            given_up = [
                Trial(
                    config,
                    TrialOutcome.CRASHED,
                    f"the tuning process ended {LOSSES} times while it was tried",
                )
                for config, count in deaths.items()
                if count >= LOSSES
            ]
            for trial in given_up:
                self._add(trial)
            taken = frozenset(_config(t) for t in own if t.state == TrialState.RUNNING)
            trials = [_trial(t.user_attrs) for t in own if _ended(t)]
            return View((*trials, *given_up), taken, waiting)

    def begin(self, config: KernelConfig) -> bool:
        """Start a configuration, unless another process has."""
        with storage_errors(self._url):
            mine = self._start({"config": asdict(config)}, self._params(config))
            others = [t for t in self._own() if t._trial_id != mine and _config(t) == config]
            # Ids of a study rise with its numbers: both are given under one lock.
            first = [t.state == TrialState.RUNNING and t._trial_id < mine for t in others]
            return self._go_on(copy=any(first) or any(map(_ended, others)))

    def end(self, trial: Trial) -> None:
        """Keep the running trial's result, unless it was taken for dead and handed on."""
        running = self._stop()
        with storage_errors(self._url), suppress(UpdateFinishedTrialError):
            for name, value in _attributes(trial).items():
                self._storage.set_trial_user_attr(running, name, value)
            self._close(running, trial)

    def put_back(self) -> None:
        """Fail the running trial; the next process tries it again."""
        running = self._stop()
        with storage_errors(self._url), suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(running, "interrupted", True)
            self._finish(running, TrialState.FAIL)

    def finals(self) -> list[Trial]:
        """Return the trials of the runoff, if nothing was tried since."""
        with storage_errors(self._url):
            kept = self._attributes().get("final", {"after": -1})
            if kept["after"] != len(self.trials()):
                return []
            return [_trial(entry) for entry in kept["trials"]]

    def begin_runoff(self) -> bool:
        """Start the runoff, unless another process measures it."""
        with storage_errors(self._url):
            self._living()
            mine = self._start({"runoff": True}, {})
            others = [t for t in self._every() if "runoff" in t.user_attrs and t._trial_id < mine]
            running = any(t.state == TrialState.RUNNING for t in others)
            return self._go_on(copy=running or bool(self.finals()))

    def keep_finals(self, finals: Sequence[Trial]) -> None:
        """Keep the trials of the runoff, which has ended."""
        running = self._stop()
        entries = [{"config": asdict(one.config)} | _attributes(one) for one in finals]
        with storage_errors(self._url), suppress(UpdateFinishedTrialError):
            self._keep("final", {"after": len(self.trials()), "trials": entries})
            self._finish(running, TrialState.PRUNED)

    def is_open(self) -> bool:
        """Return whether other processes may join the search."""
        with storage_errors(self._url):
            return not self._attributes().get("closed", True)

    def open(self, offer: dict[str, Any]) -> None:
        """Let other processes join; what they need to know is in the offer."""
        with storage_errors(self._url):
            self._keep("closed", False)
            self._keep("offer", offer)

    def close(self) -> None:
        """Let no other process start anything."""
        with storage_errors(self._url):
            self._keep("closed", True)

    def _every(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._id, deepcopy=False)

    def _own(self) -> list[FrozenTrial]:
        return own_trials(self._every())

    def _attributes(self) -> dict[str, Any]:
        return self._storage.get_study_user_attrs(self._id)

    def _keep(self, name: str, value: object) -> None:
        self._storage.set_study_user_attr(self._id, name, value)

    def _start(self, facts: dict[str, Any], params: dict[str, Any]) -> int:
        """Add a running trial, and return its id."""
        kept = facts | {"owner": trial_owner()}
        axes = self._axes if params else {}
        trial = create_trial(
            state=TrialState.RUNNING, params=params, distributions=axes, user_attrs=kept
        )
        running = self._running = self._storage.create_new_trial(self._id, template_trial=trial)
        return running

    def _go_on(self, *, copy: bool) -> bool:
        """Let the trial that was just added run, or end it as a copy of another one."""
        running = self._running
        assert running is not None
        if not copy:
            self._beat = Beat(
                lambda count: self._storage.set_trial_user_attr(running, "beat", count)
            )
            return True
        self._running = None
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(running, "copy", True)
            self._finish(running, TrialState.FAIL)
        return False

    def _stop(self) -> int:
        """End the signs of life of the running trial, and return its id."""
        running = self._running
        assert running is not None and self._beat is not None, "a trial starts before it ends"
        self._beat.stop()
        self._running = self._beat = None
        return running

    def _params(self, config: KernelConfig) -> dict[str, Any]:
        fields = fields_of(config)
        return {name: fields[name] for name in self._axes}

    def _close(self, trial_id: int, trial: Trial) -> None:
        state = TrialState.FAIL if trial.ms is None else TrialState.COMPLETE
        self._finish(trial_id, state, trial.ms)

    def _finish(self, trial_id: int, state: TrialState, value: float | None = None) -> None:
        """End a trial, unless another process has ended it."""
        with suppress(UpdateFinishedTrialError):
            values = None if value is None else [value]
            self._storage.set_trial_state_values(trial_id, state, values)

    def _check(self, name: str, now: dict[str, Any]) -> None:
        """Keep a fact of the study, or refuse one that differs."""
        kept = self._attributes().get(name)
        if kept is None:
            self._keep(name, now)
        elif kept != now:
            kind = "another space" if name == "space" else "another device or other versions"
            raise AutotuneError(
                f"{without_password(self._url)} holds a search of {kind} for {self._name}: "
                f"{differences(kept, now)}; choose another storage"
            )

    def _living(self) -> list[FrozenTrial]:
        """Return all trials, after those of dead processes have ended."""
        every = self._every()
        left = [t for t in every if t.state == TrialState.RUNNING and self._is_abandoned(t)]
        for one in left:
            if _ended(one):
                self._close(one._trial_id, _trial(one.user_attrs))
            else:
                self._finish(one._trial_id, TrialState.FAIL)
        return self._every() if left else every

    def _is_abandoned(self, one: FrozenTrial) -> bool:
        """Return whether the process of a running trial is dead; others' trials are not ours."""
        owner = one.user_attrs.get("owner")
        if owner is None:
            return False
        if is_here(owner):
            return not is_alive(owner)
        return self._signs.are_missing(one.number, one.user_attrs.get("beat"))

    def _add(self, trial: Trial) -> None:
        kept = {"config": asdict(trial.config), "owner": trial_owner()}
        self._storage.create_new_trial(
            self._id,
            template_trial=create_trial(
                state=TrialState.FAIL if trial.ms is None else TrialState.COMPLETE,
                value=trial.ms,
                params=self._params(trial.config),
                distributions=self._axes,
                user_attrs=kept | _attributes(trial),
            ),
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
            name: [
                _trial(one.user_attrs)
                for one in own_trials(study.get_trials(deepcopy=False))
                if _ended(one)
            ]
            for name, study in studies.items()
        }


def own_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials of configurations that radialbench made, without copies."""
    return [t for t in trials if "config" in t.user_attrs and "copy" not in t.user_attrs]


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe what differs between the facts of a study and those of this process."""
    names = [name for name in {**kept, **now} if kept.get(name) != now.get(name)]
    return ", ".join(f"{name} {kept.get(name)} there, {now.get(name)} here" for name in names)


def _ended(one: FrozenTrial) -> bool:
    return "outcome" in one.user_attrs


def _interrupted(one: FrozenTrial) -> bool:
    return "interrupted" in one.user_attrs


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
