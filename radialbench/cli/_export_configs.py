"""What `radialbench export` does with tuned configurations."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from radialbench.records.tuning import TuningRecord


def asked(study: Path | None, backends: Sequence[str], device: str | None) -> "list[TuningRecord]":
    """Give the records that are asked for; of several of one problem the first, as lookups do.

    Args:
        study: A file or a folder of records; those that come with the package if None.
        backends: The kernels they are of; any if empty.
        device: Part of the names of their GPUs; any if None.

    Raises:
        RecordError: They cannot be read, or there are none.
    """
    from radialbench.errors import RecordError, unknown
    from radialbench.kernels.tuned import shipped_records
    from radialbench.records.tuning_file import files_of, read_records

    if study is None:
        found = list(shipped_records())
        where = "this package"
    else:
        found = [record for path in files_of(study) for record in read_records(path)]
        where = str(study)
    if not found:
        raise RecordError(f"{where} has no tuned configurations; name a file that tune has written")
    known = {record.key.backend for record in found}
    for name in backends:
        if name not in known:
            raise RecordError(f"{where}: {unknown('backend', name, known)}")
    devices = {record.key.device for record in found}
    kept: dict[object, TuningRecord] = {}
    for record in found:
        wanted = device is None or device.lower() in record.key.device.lower()
        if wanted and (not backends or record.key.backend in backends):
            kept.setdefault(record.key, record)
    if not kept:
        raise RecordError(
            f"{where} has nothing of {' or '.join(backends) or 'a kernel'} on {device!r}; it has "
            f"{', '.join(sorted(devices))}"
        )
    return list(kept.values())


def journal_of(study: Path | None) -> str | None:
    """Name the storage of a study where `radialbench tune` puts it, if it is there."""
    if study is None or not study.is_file():
        return None
    path = study.with_suffix(".journal")
    return f"journal:{path}" if path.is_file() else None


def write_configs(
    records: "Sequence[TuningRecord]", format: str, out: Path, storage: str | None, *, json: bool
) -> None:
    """Write records in a form, and tell how many keep the default, and how many are stale."""
    from radialbench.autotune.export import Chosen, load_config_format, write_texts
    from radialbench.cli import FAILED
    from radialbench.cli._console import fail, print_json, say
    from radialbench.records.store import WriteError

    texts = load_config_format(format)(Chosen(tuple(records), storage))
    try:
        files = write_texts(out, texts)
    except WriteError as error:
        fail(str(error), FAILED)
    kept = sum(record.source == "default" for record in records)
    stale = sum(bool(_stale(record)) for record in records)
    if json:
        facts = {"files": list(map(str, files)), "format": format}
        print_json({**facts, "configurations": len(records), "default": kept, "stale": stale})
        return
    say(
        f"{out}: {len(records)} configurations of "
        f"{', '.join(sorted({record.key.device for record in records}))}, the default for {kept} "
        "of them, where nothing was faster by more than the noise"
    )
    if stale:
        say(
            f"{stale} are of another version of the kernel or its compiler than this one: here "
            "they are used only where stale ones are asked for. Tune again"
        )


def check_configs(
    records: "Sequence[TuningRecord]", suites: Sequence[str], command: str, *, json: bool
) -> None:
    """Measure records of this machine beside the default again; exit with 1 if one is not sound."""
    from radialbench.autotune.jobs import match_records
    from radialbench.autotune.live import WorkerPool
    from radialbench.autotune.run import Verification, verify
    from radialbench.cli import FAILED
    from radialbench.cli._verdicts import tell_verdicts
    from radialbench.errors import RecordError
    from radialbench.suites.read import suite_names

    devices = _devices()
    here = {record.key: record for record in records if record.key.device in devices}
    if not here:
        raise RecordError(
            f"the configurations are of {', '.join(sorted({r.key.device for r in records}))}, and "
            f"this machine has {' and '.join(devices)}: nothing can be measured here"
        )
    names = {devices[key.device] for key in here}
    jobs = [(name, match_records(here, suites or suite_names(), name)) for name in sorted(names)]
    found = {job.key for _, some in jobs for job in some}
    if not found:
        raise RecordError(
            f"none of the {len(here)} configurations of this machine is of a problem in "
            f"{', '.join(suites) or 'the shipped suites'}; name a suite that has it with --suite"
        )
    kept = sum(here[key].source == "default" for key in found)
    rest = (
        f"{len(here) - len(found)} are of problems in none of the suites, {kept} keep the default, "
        f"{len(records) - len(here)} are of other devices"
    )

    def verdicts() -> Iterator[Verification]:
        for name, some in jobs:
            if any(here[job.key].source == "tuned" for job in some):
                with WorkerPool(name, command) as pool:
                    yield from verify(some, here, pool)

    if not tell_verdicts(verdicts(), rest, json=json):
        raise typer.Exit(FAILED)


def _stale(record: "TuningRecord") -> list[str]:
    from radialbench.kernels.sources import SOURCES, compiler_version, source_hash

    backend = record.key.backend
    if backend not in SOURCES:
        return [f"there is no {backend}"]
    return record.stale_reasons(source_hash(backend), compiler_version(backend))


def _devices() -> dict[str, str]:
    """Give what this machine computes on, by name."""
    from radialbench.kernels.arch import find_device
    from radialbench.kernels.tuned import processor

    return {processor(device): device for device in ("cpu", find_device("auto"))}
