"""Offer: what a study tells other processes, so that they can join its search."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from optuna.storages import BaseStorage

from radialbench.autotune.jobs import TuningJob
from radialbench.autotune.storage import open_storage, storage_errors, without_password
from radialbench.autotune.study import Study
from radialbench.autotune.trials import Trial, study_name
from radialbench.errors import AutotuneError, BackendError, SpecError
from radialbench.kernels.tuned import compiler_version, device_name, source_hash
from radialbench.maskgen.document import parse_document
from radialbench.maskgen.language.heads import AnyMask, HeadPlan
from radialbench.maskgen.library import parse_head_plan, parse_mask
from radialbench.records.codec import from_dict, to_dict
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.tuning import TuningKey
from radialbench.suites.plan import Case
from radialbench.suites.schema import Protocol

SCHEMA = 1
"""Version of the stored form. 1: the first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A search that others may join.

    Attributes:
        schema: Version of the stored form.
        name: The problem, for people.
        mask: The YAML document of its mask or head plan.
        problem: What is computed.
        backend: What computes it.
        config: The configuration of the suite, or the default.
        config_source: Whose it is, as that of `Case`.
        device: `cpu` or `cuda`.
        search: The sampler.
        seed: Its seed.
        trials: Trials at most.
        neighbours: Configurations to try first, after the default.
    """

    schema: int
    name: str
    mask: str
    problem: Problem
    backend: str
    config: KernelConfig
    config_source: str
    device: str
    search: str
    seed: int
    trials: int
    neighbours: tuple[KernelConfig, ...]

    def case(self) -> Case:
        """Return the case on this machine.

        Raises:
            SpecError: The mask cannot be read here, or is read as another one.
        """
        document = parse_document(self.mask, self.name).value
        mask = parse_head_plan(document) if "heads" in document else parse_mask(document)
        if mask.fingerprint != self.problem.mask_fingerprint:
            raise SpecError(
                f"the mask of {self.name} means something else to this version of radialbench"
            )
        return Case(
            suite="tune",
            id=self.name,
            measure="attention",
            identity=mask.identity,
            mask=mask,
            model=None,
            problem=self.problem,
            backend=self.backend,
            config=self.config,
            config_source=self.config_source,
            device=self.device,
            protocol=Protocol(),
        )

    @property
    def versions(self) -> dict[str, str]:
        """What times of the problem depend on besides, on this machine."""
        try:
            device = device_name(self.device)
        except BackendError:
            device = f"no {self.device} device"
        return _versions(device, self.backend, self.problem.direction)


@dataclass(frozen=True, slots=True)
class Offered:
    """An open study: its name and id, its offer, and the versions of its trials."""

    study: str
    id: int
    offer: Offer
    versions: dict[str, str]


def offered(url: str, storage: BaseStorage) -> list[Offered]:
    """Return the open studies of a storage.

    Raises:
        AutotuneError: The storage cannot be read, or a search is of another version of radialbench.
        RecordError: An offer is damaged.
    """
    found = []
    with storage_errors(url):
        for one in storage.get_all_studies():
            kept = one.user_attrs
            if "offer" in kept and not kept["closed"]:
                if kept["offer"].get("schema") != SCHEMA:
                    raise AutotuneError(
                        f"{without_password(url)} has searches of another version of radialbench, "
                        f"such as {one.study_name}; install the same version here"
                    )
                offer = from_dict(Offer, kept["offer"])
                found.append(Offered(one.study_name, one._study_id, offer, kept["versions"]))
    return found


@contextmanager
def offering(
    url: str | None,
    jobs: Sequence[TuningJob],
    *,
    search: str,
    seed: int,
    trials: int,
    known: Mapping[TuningKey, Sequence[Trial]],
    neighbours: Callable[[TuningKey], Sequence[KernelConfig]],
) -> Iterator[None]:
    """Let other processes join the searches of jobs, until this block ends.

    Jobs that need files of this machine are not offered: given block tables, or inputs.

    Args:
        url: The storage; nothing is offered without one.
        jobs: The jobs, which have candidates.
        search: The sampler.
        seed: Its seed.
        trials: Trials of a job, at most.
        known: Trials of jobs that ended elsewhere on this device.
        neighbours: Returns the configurations with which the search of a problem begins.

    Raises:
        AutotuneError: The storage cannot be used, or holds a search of another space or of other
            versions.
    """
    if url is None:
        yield
        return
    with storage_errors(url, KeyError, ValueError, AssertionError, ImportError):
        storage = open_storage(url)
    studies = []
    for job in jobs:
        assert job.candidates is not None and job.case.backend is not None
        case, key = job.case, job.key
        study = Study(url, study_of(key), job.candidates, versions_of(key), storage)
        if case.inputs is not None or _has_tables(case.mask):
            continue
        feasible = set(job.candidates.feasible)
        study.add(trial for trial in known.get(key, ()) if trial.config in feasible)
        offer = Offer(
            schema=SCHEMA,
            name=job.name,
            mask=case.mask.to_yaml(),
            problem=case.problem,
            backend=job.case.backend,
            config=case.config,
            config_source=case.config_source,
            device=case.device,
            search=search,
            seed=seed,
            trials=trials,
            neighbours=tuple(neighbours(key)),
        )
        study.open(to_dict(offer))
        studies.append(study)
    try:
        yield
    finally:
        for study in studies:
            study.close()


def study_of(key: TuningKey) -> str:
    """Return the name of a problem's study with the kernel of this version."""
    return study_name(key, source_hash(key.backend, key.direction))


def versions_of(key: TuningKey) -> dict[str, str]:
    """Return what times of a problem depend on besides: the device, the kernel, libraries."""
    return _versions(key.device, key.backend, key.direction)


def _versions(device: str, backend: str, direction: str) -> dict[str, str]:
    found = {"device": device, "kernel": source_hash(backend, direction)}
    return found | {"torch": version("torch")} | compiler_version(backend)


def _has_tables(mask: AnyMask) -> bool:
    masks = [group.mask for group in mask.groups] if isinstance(mask, HeadPlan) else [mask]
    return any(one.tables for one in masks)
