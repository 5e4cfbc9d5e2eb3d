"""find_config: the configuration that was tuned for a problem, by the user or by us."""

import os
import re
import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path

from radialbench.errors import RecordError
from radialbench.kernels.arch import cpu_name
from radialbench.kernels.sources import SOURCES, compiler_version, source_hash
from radialbench.records.lookup import ConfigChoice, always_feasible, nearest_config
from radialbench.records.problem import KernelConfig, Problem, plain_config
from radialbench.records.tuning import TuningKey, TuningRecord, key_of
from radialbench.records.tuning_file import files_of, read_records

SHIPPED = Path(__file__).parents[1] / "autotune" / "configs"
"""Folder of the records that come with the package, a file a device."""

VARIABLE = "RADIALBENCH_CONFIGS"
"""Environment variable that names the user's own records: a file, or a folder of `.jsonl` and
`.json` files, as `radialbench tune` and `radialbench export --format json` write them."""


def find_config(
    problem: Problem,
    backend: str,
    device: str,
    *,
    default: KernelConfig | None = None,
    feasible: Callable[[KernelConfig], list[str]] = always_feasible,
    strict: bool = True,
    configs: str | Path | None = None,
) -> ConfigChoice:
    """Choose the configuration for a problem, by the rule of `records.lookup.nearest_config`.

    The records are those of `configs`, or else those that `RADIALBENCH_CONFIGS` names, then those
    that come with the package.

    Args:
        problem: What is computed.
        backend: What computes it.
        device: Name of the GPU, or of the CPU, as `processor` gives it.
        default: What to run where nothing is found; the backend's own if not given.
        feasible: Says why a configuration cannot run this problem; empty if it can.
        strict: Use no record of another version of the kernel or of what compiles it. Otherwise
            one is used where nothing else is found, with a warning, once.
        configs: A file of records or exported configurations, or a folder of such.

    Raises:
        RecordError: Records cannot be read.
    """
    key = key_of(problem, backend, device)
    return lookup(key, default=default, feasible=feasible, strict=strict, configs=configs)


def lookup(
    key: TuningKey,
    *,
    default: KernelConfig | None = None,
    feasible: Callable[[KernelConfig], list[str]] = always_feasible,
    strict: bool = True,
    configs: str | Path | None = None,
) -> ConfigChoice:
    """Choose the configuration for a key; else as `find_config`."""
    if key.backend not in SOURCES:
        plain = default or plain_config(key.backend)
        return ConfigChoice(plain, "default", None, f"{key.backend} is not tuned")
    found = nearest_config(
        records_of(key.device, configs),
        key,
        default=default,
        feasible=feasible,
        kernel=source_hash(key.backend),
        versions=compiler_version(key.backend),
        strict=strict,
    )
    if found.stale and found.source != "default":
        _warn(f"{key.backend} runs a configuration {found.reason}; tune again to be sure of it")
    return found


def records_of(device: str, configs: str | Path | None = None) -> tuple[TuningRecord, ...]:
    """Return the records that may say something about a device, the user's own first.

    Args:
        device: Name of the GPU, or of the CPU.
        configs: Where the user's own are; where `RADIALBENCH_CONFIGS` says if not given.

    Raises:
        RecordError: Records cannot be read.
    """
    shipped = SHIPPED / file_name(device)
    files = [*_own(configs), *([shipped] if shipped.exists() else [])]
    return tuple(record for path in files for record in _records(path))


def shipped_records() -> tuple[TuningRecord, ...]:
    """Return the records of all devices that come with the package.

    Raises:
        RecordError: Records cannot be read.
    """
    return tuple(record for path in sorted(SHIPPED.glob("*.jsonl")) for record in _records(path))


def file_name(device: str) -> str:
    """Return the name of the file of a device's records."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".jsonl"


def processor(device: str) -> str:
    """Return the name of the GPU, or of the CPU, that a device of PyTorch is."""
    if not device.startswith("cuda"):
        return cpu_name()
    import torch

    return torch.cuda.get_device_name(device)


def _own(configs: str | Path | None) -> list[Path]:
    if configs is not None:
        return files_of(Path(configs))
    if not (named := os.environ.get(VARIABLE)):
        return []
    if not Path(named).exists():
        raise RecordError(f"{VARIABLE} names {named}, which is neither a file nor a folder")
    return files_of(Path(named))


def _records(path: Path) -> tuple[TuningRecord, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, changed: int, size: int) -> tuple[TuningRecord, ...]:
    """Read a file once as long as it stays as it is."""
    return read_records(path)


@cache
def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)
