"""Tuned configurations in the formats that serving code reads.

Each format's module has `render(chosen)`, which returns the text of a file, or the texts of a
folder's files by their names. No format is pickled or runs code when it is read as data.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radialbench.errors import RecordError, load_plugin, unknown
from radialbench.kernels.tuned import shipped_records
from radialbench.plain import utf8
from radialbench.records.store import write_errors
from radialbench.records.tuning import TuningKey, TuningRecord
from radialbench.records.tuning_file import files_of, read_records
from radialbench.writing import write_files

CONFIG_FORMATS: dict[str, str] = {
    "json": "radialbench.autotune.export.json:render",
    "python": "radialbench.autotune.export.python:render",
    "t4": "radialbench.autotune.export.t4:render",
    "triton": "radialbench.autotune.export.triton:render",
    "vllm": "radialbench.autotune.export.vllm:render",
}
"""Module and function of each format, which is imported when it is used."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The records to export.

    Attributes:
        records: The record of each problem: a tuned configuration, or the default where no other
            was faster by more than the noise.
        storage: Storage of their trials, as for `open_store`; None if unknown.
    """

    records: tuple[TuningRecord, ...]
    storage: str | None = None


Texts = str | dict[str, str]
Render = Callable[[Chosen], Texts]


def load_config_format(name: str) -> Render:
    """Load a format by name.

    Raises:
        RecordError: No format has this name.
    """
    kind = "format of configurations"
    render: Render = load_plugin(CONFIG_FORMATS, name, kind=kind, error=RecordError)
    return render


def choose_records(
    study: Path | None, backends: Sequence[str], device: str | None
) -> list[TuningRecord]:
    """Return the records of some kernels and devices; of one problem the first, as lookups do.

    Args:
        study: A file or a folder of records; those that come with the package if None.
        backends: The kernels; any if empty.
        device: Part of the names of their GPUs; any if None.

    Raises:
        RecordError: They cannot be read, or there are none.
    """
    if study is None:
        every, where = list(shipped_records()), "this package"
    else:
        every = [record for path in files_of(study) for record in read_records(path)]
        where = str(study)
    if not every:
        raise RecordError(f"{where} has no tuned configurations; name a file that tune has written")
    known = {record.key.backend for record in every}
    for name in backends:
        if name not in known:
            raise RecordError(f"{where}: {unknown('backend', name, known)}")
    kept: dict[TuningKey, TuningRecord] = {}
    for record in every:
        key = record.key
        if (device or "").lower() in key.device.lower() and key.backend in (backends or known):
            kept.setdefault(key, record)
    if not kept:
        raise RecordError(
            f"{where} has nothing of {' or '.join(backends) or 'a kernel'} on {device!r}; it has "
            f"{', '.join(sorted({record.key.device for record in every}))}"
        )
    return list(kept.values())


def write_texts(out: Path, texts: Texts) -> list[Path]:
    """Write a file, or files in a folder, each completely or not at all.

    A folder is marked as complete by a list of its files and their sums, as `write_files` does.

    Returns:
        The files.

    Raises:
        RecordError: One cannot be written.
        WriteError: The disk is full; the file before it is kept.
    """
    folder = None if isinstance(texts, str) else out
    files = {out: texts} if isinstance(texts, str) else {out / k: v for k, v in texts.items()}
    with write_errors(out, "choose another place"):
        (folder or out.parent).mkdir(parents=True, exist_ok=True)
        write_files({path: utf8(text).encode() for path, text in files.items()}, folder=folder)
    return list(files)


def file_part(text: str) -> str:
    """Return a text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.()@+-]+", "_", text)


def measured_facts(record: TuningRecord) -> dict[str, Any]:
    """Return the measurements of a record, its kernel and its versions.

    Times and ratios are a median and both ends of its interval.
    """
    estimates = {"ms": record.ms, "default_ms": record.default_ms, "ratio": record.ratio}
    return {
        "source": record.source,
        **{name: (one.value, one.low, one.high) for name, one in estimates.items()},
        "kernel": record.kernel,
        "versions": record.versions,
    }


def config_of(record: TuningRecord) -> dict[str, Any]:
    """Return the fields of a configuration that are set."""
    return {name: value for name, value in asdict(record.config).items() if value is not None}


def describe_record(record: TuningRecord) -> str:
    """Describe the problem of a record and its gain, in one printable line."""
    key, ratio = record.key, record.ratio
    video = f"{key.frames} × {key.tokens_per_frame:,} tokens"
    video += f", {key.q_len:,} queries" if key.q_len else ""
    heads = f"{key.batch} × {key.heads_text} of {key.head_dim}"
    gain = "the default: nothing was surely faster"
    if record.source == "tuned":
        gain = f"{ratio.value:.3f} times as fast as the default"
    direction = ", gradients" if key.direction == "backward" else ""
    text = f"{record.mask.label}, {video}, {heads}, {key.dtype}{direction}, {key.device}: {gain}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)
