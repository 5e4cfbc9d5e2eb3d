"""Trials of masks, kept in a study of Optuna's so that a search goes on where it ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from radialbench.autotune.storage import open_storage, storage_errors
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.masksearch.space import Family, Place


@dataclass(frozen=True)
class MaskTrial:
    """A mask that was tried.

    Attributes:
        family: The word of its family.
        place: Its place there.
        mask: The mask.
        cost: Share of what dense attention costs; None if the mask does not fit the grid.
        ms: Its time, where times are the cost.
        losses: [halves of the rows][heads] what it loses.
        reason: Why it does not fit the grid; empty if it does.
    """

    family: str
    place: Place
    mask: MaskSpec
    cost: float | None = None
    ms: float | None = None
    losses: tuple[tuple[float, ...], ...] = ()
    reason: str = ""


class TrialStore:
    """Trials of one measurement in a storage.

    Args:
        url: As that of `autotune.study.Study`.
        name: Name of the study: whatever changes a trial's result changes it.

    Raises:
        AutotuneError: The storage cannot be opened.
    """

    def __init__(self, url: str, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._url = url
        with storage_errors(url, KeyError, ValueError, AssertionError, ImportError):
            self._study = optuna.create_study(
                storage=open_storage(url),
                study_name=name,
                load_if_exists=True,
                directions=["minimize", "minimize"],
                sampler=optuna.samplers.RandomSampler(),
            )

    def trials(self, families: Sequence[Family]) -> list[MaskTrial]:
        """Return the trials of masks that are in families, one of each mask.

        A mask whose file has changed since is no such mask.
        """
        with storage_errors(self._url):
            kept = [one.user_attrs for one in self._study.get_trials(deepcopy=False)]
        found: dict[tuple[str, Place], MaskTrial] = {}
        by_word = {family.word: family for family in families}
        for attributes in kept:
            trial = _read(attributes, by_word.get(attributes["family"]))
            if trial is not None:
                found.setdefault((trial.family, trial.place), trial)
        return list(found.values())

    def add(self, trials: Iterable[MaskTrial]) -> None:
        """Keep trials."""
        for trial in trials:
            values = _values(trial)
            with storage_errors(self._url):
                self._study.add_trial(
                    create_trial(
                        state=TrialState.FAIL if trial.cost is None else TrialState.COMPLETE,
                        values=None if trial.cost is None else [trial.cost, fmean(trial.losses[0])],
                        params={f"{trial.family}.{name}": value for name, value in values.items()},
                        distributions={
                            f"{trial.family}.{name}": FloatDistribution(value, value)
                            for name, value in values.items()
                        },
                        user_attrs=_attributes(trial, values),
                    )
                )


def _values(trial: MaskTrial) -> dict[str, float]:
    return {param.name: param.value for param in trial.mask.params if param.kind != "bool"}


def _attributes(trial: MaskTrial, values: dict[str, float]) -> dict[str, Any]:
    return {
        "family": trial.family,
        "values": values,
        "fingerprint": trial.mask.fingerprint,
        "cost": trial.cost,
        "ms": trial.ms,
        "losses": [list(half) for half in trial.losses],
        "reason": trial.reason,
    }


def _read(kept: dict[str, Any], family: Family | None) -> MaskTrial | None:
    """Return a trial; None if its mask is not in the family."""
    if family is None:
        return None
    try:
        place = tuple(axis.values.index(kept["values"][axis.name]) for axis in family.axes)
    except (KeyError, ValueError):
        return None
    mask = family.at(place)
    if mask.fingerprint != kept["fingerprint"]:
        return None
    losses = tuple(tuple(half) for half in kept["losses"])
    return MaskTrial(family.word, place, mask, kept["cost"], kept["ms"], losses, kept["reason"])
