"""Join: a process that tries configurations of the searches that others have started."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from optuna.storages import BaseStorage
from optuna.trial import TrialState

from radialbench.autotune.jobs import TuningJob
from radialbench.autotune.jobs import job_of as tuning_job
from radialbench.autotune.offer import Offer, Offered, offered
from radialbench.autotune.owner import trial_owner
from radialbench.autotune.run import JobProgress
from radialbench.autotune.storage import (
    StorageError,
    open_storage,
    storage_errors,
    without_password,
)
from radialbench.autotune.study import Study, differences
from radialbench.autotune.trials import Evaluator
from radialbench.autotune.tuner import POLL_SECONDS, Progress, Searching
from radialbench.errors import AutotuneError, RadialBenchError

WAIT_S = 600.0
"""How long a process waits for something to do, unless asked otherwise."""


@dataclass(slots=True)
class Work:
    """What a process has done for the searches of others.

    Attributes:
        trials: Trials that it ran.
        runoffs: Runoffs that it measured.
        failed: Problems that it could not go on with, and why.
    """

    trials: int = 0
    runoffs: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def join(
    url: str,
    evaluator_of: Callable[[TuningJob], Evaluator],
    *,
    wait_s: float,
    job_of: Callable[[Offer], TuningJob] = lambda offer: tuning_job(offer.case()),
    on_event: Callable[[JobProgress], None] = lambda event: None,
) -> Work:
    """Work on the open searches of a storage, until there is nothing to do for some time.

    It goes where fewest processes are, so that problems are shared out before their trials.

    Args:
        url: The storage.
        evaluator_of: Returns what tries configurations of a problem.
        wait_s: How long to wait for something to do.
        job_of: Returns the job of an offer on this machine.
        on_event: Called with every progress.

    Raises:
        AutotuneError: The storage cannot be used, or all of its open searches are of another device
            or of other versions.
    """
    with storage_errors(url, KeyError, ValueError, AssertionError, ImportError):
        storage = open_storage(url)
    member = _Member(url, storage, evaluator_of, job_of, on_event)
    idle_since = time.monotonic()
    while True:
        did = member.step()
        if did or member.expects:
            idle_since = time.monotonic()
        elif time.monotonic() - idle_since >= wait_s:
            return member.work
        if not did:
            time.sleep(POLL_SECONDS)


@dataclass(slots=True)
class _Joined:
    """A search that this process has joined; nothing is left to do if it is `done`."""

    searching: Searching
    evaluator: Evaluator
    done: bool = False


class _Member:
    """A process among those that work on a storage."""

    def __init__(
        self,
        url: str,
        storage: BaseStorage,
        evaluator_of: Callable[[TuningJob], Evaluator],
        job_of: Callable[[Offer], TuningJob],
        on_event: Callable[[JobProgress], None],
    ) -> None:
        self._url, self._storage = url, storage
        self._evaluator_of, self._job_of, self._on_event = evaluator_of, job_of, on_event
        self._joined: dict[tuple[str, Offer], _Joined | None] = {}
        self._draw = random.Random(trial_owner())
        self.work = Work()
        self.expects = False

    def step(self) -> bool:
        """Do what can be done for one search.

        Returns:
            Whether something was done; if not, `expects` says whether others are at something that
            they may leave.
        """
        found = offered(self._url, self._storage)
        fitting = [one for one in found if one.versions == one.offer.versions]
        if found and not fitting:
            raise AutotuneError(
                f"{without_password(self._url)} has searches of another device or of other "
                f"versions only: {differences(found[0].versions, found[0].offer.versions)}. Times "
                "of one do not hold for the other: install the same here, or tune into a storage "
                "of its own"
            )
        found = [one for one in fitting if not self._is_done(one)]
        # Those that start at the same moment shall not all begin with the same.
        self._draw.shuffle(found)
        for one in sorted(found, key=self._crowd):
            joined = self._join(one, place=len(self._joined), total=len(fitting))
            if joined is not None and self._advance(joined, one):
                return True
        self.expects = any(not self._is_done(one) for one in found)
        return False

    def _crowd(self, one: Offered) -> int:
        """Count the processes that are at a search."""
        with storage_errors(self._url):
            return self._storage.get_n_trials(one.id, state=TrialState.RUNNING)

    def _is_done(self, one: Offered) -> bool:
        """Return whether nothing is left to do for a search, or it cannot run here."""
        key = (one.study, one.offer)
        return key in self._joined and ((joined := self._joined[key]) is None or joined.done)

    def _join(self, one: Offered, place: int, total: int) -> _Joined | None:
        """Return a search; None if it cannot run here."""
        key = (one.study, one.offer)
        if key in self._joined:
            return self._joined[key]
        self._joined[key] = None
        try:
            job = self._job_of(one.offer)
            if job.candidates is None:
                raise AutotuneError(job.reason or "it cannot run here")
            store = Study(self._url, one.study, job.candidates, one.versions, self._storage)
        except StorageError:
            raise
        except RadialBenchError as error:
            self.work.failed[one.offer.name] = str(error)
            return None
        evaluator = self._evaluator_of(job)

        def watch(progress: Progress) -> None:
            self.work.trials += progress.trial is not None
            self.work.runoffs += progress.stage == "final"
            self._on_event(JobProgress(place + 1, max(place + 1, total), job, progress))

        searching = Searching(
            job.candidates,
            evaluator,
            store,
            search=one.offer.search,
            seed=one.offer.seed,
            trials=one.offer.trials,
            neighbours=one.offer.neighbours,
            watch=watch,
            allowed=store.is_open,
        )
        self._joined[key] = joined = _Joined(searching, evaluator)
        return joined

    def _advance(self, joined: _Joined, one: Offered) -> bool:
        """Try what can be tried now; return whether that was anything."""
        before = self.work.trials, self.work.runoffs
        try:
            joined.done = bool(joined.searching.advance())
        except StorageError:
            raise
        except AutotuneError as error:
            self.work.failed[one.offer.name] = str(error)
            joined.done = True
        finally:
            joined.evaluator.close()
        return (self.work.trials, self.work.runoffs) != before
