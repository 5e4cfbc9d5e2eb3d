"""find_config: the tuned configuration for a problem, from the user's or the shipped records."""

import hashlib
import os
import re
import tokenize
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from radialbench.errors import BackendError, RecordError
from radialbench.kernels.arch import cpu_name, versions
from radialbench.records.lookup import ConfigChoice, always_feasible, nearest_config
from radialbench.records.problem import KERNEL_OF, KernelConfig, Problem, plain_config
from radialbench.records.tuning import TuningKey, TuningRecord, key_of
from radialbench.records.tuning_file import files_of, read_records

SHIPPED = Path(__file__).parents[1] / "autotune" / "configs"
"""Folder of the records that come with the package: a file for each device, and beside it
`<device>.<library>-<version>.jsonl` for each further version of what compiles the kernels."""

VARIABLE = "RADIALBENCH_CONFIGS"
"""Environment variable that names the user's own records: a file, or a folder of `.jsonl` and
`.json` files, as `radialbench tune` and `radialbench export --format json` write them."""

FOLDER = Path(__file__).parent


def user_folder() -> Path:
    """Return the folder of the user's own records where `RADIALBENCH_CONFIGS` is not set.

    It is `radialbench/configs` in `XDG_DATA_HOME`, which is `~/.local/share` if that is not set.
    """
    data = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
    with suppress(RuntimeError):  # A process may have no home.
        data = data.expanduser()
    return data / "radialbench" / "configs"


SOURCES: dict[str, tuple[str, ...]] = {
    "cpu": ("backends/cpu.py",),
    "hopper": ("triton/forward_hopper.py",),
    "triton": ("triton/forward.py",),
}
"""Source files of the kernel, by tunable backend."""

GRADIENT_SOURCES: dict[str, tuple[str, ...]] = {
    "cpu": ("backends/cpu.py",),
    "triton": ("triton/backward.py",),
}
"""The same of gradients. The kernel for Hopper leaves nothing to choose: its blocks are 128×128,
and its three steps in shared memory are the most there at 128 channels."""

COMPILERS = {"cpu": "torch", "hopper": "triton", "triton": "triton"}
"""The library that compiles the kernel, by tunable backend."""


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

    The records of `configs`, or else those that `user_records` returns, come before those of the
    package.

    Args:
        problem: What is computed.
        backend: Name of the backend.
        device: Name of the GPU or CPU, as `device_name` returns it.
        default: Configuration if none is found; the backend's own if not given.
        feasible: Returns why a configuration cannot run this problem; empty if it can.
        strict: Use no record of another version of the kernel or its compiler. Otherwise one is
            used if there is no other, with a warning, once.
        configs: A file of records or exported configurations, or a folder of such files.

    Raises:
        RecordError: Records cannot be read.
    """
    key = key_of(problem, KERNEL_OF.get(backend, backend), device)
    options: dict[str, Any] = {"feasible": feasible, "strict": strict, "configs": configs}
    if key.direction != "both":
        return lookup(key, default=default, **options)
    out = lookup(replace(key, direction="forward"), default=default, **options)
    options["feasible"] = _feasible_gradients(feasible, out.config)
    grads = lookup(replace(key, direction="backward"), default=out.config, **options)
    return replace(
        out if grads.source == "default" else grads,
        config=replace(out.config, gradients=grads.config.gradients),
        reason=f"{out.reason}; gradients: {grads.reason}",
    )


def _feasible_gradients(
    feasible: Callable[[KernelConfig], list[str]], given: KernelConfig
) -> Callable[[KernelConfig], list[str]]:
    """Return why gradients cannot be computed in a configuration, on a table in given blocks."""

    def reasons(config: KernelConfig) -> list[str]:
        return block_reasons(config, (given.block_m, given.block_n)) + feasible(config)

    return reasons


def block_reasons(config: KernelConfig, blocks: tuple[int, int]) -> list[str]:
    """Return why a configuration does not fit a table; empty if it is in its blocks."""
    if (config.block_m, config.block_n) == blocks:
        return []
    return [
        f"its blocks are {config.block_m}×{config.block_n}, those of the table "
        f"{blocks[0]}×{blocks[1]}"
    ]


def lookup(
    key: TuningKey,
    *,
    default: KernelConfig | None = None,
    feasible: Callable[[KernelConfig], list[str]] = always_feasible,
    strict: bool = True,
    configs: str | Path | None = None,
) -> ConfigChoice:
    """Choose the configuration for a key, as `find_config` does."""
    if key.backend not in _sources(key.direction):
        plain = default or plain_config(key.backend)
        return ConfigChoice(plain, "default", None, not_tuned(key.backend, key.direction))
    choice = nearest_config(
        records_of(key.device, configs),
        key,
        default=default,
        feasible=feasible,
        kernel=source_hash(key.backend, key.direction),
        versions=compiler_version(key.backend),
        strict=strict,
    )
    if choice.stale and choice.source != "default":
        warn_once(
            f"{key.backend} runs a configuration {choice.reason}; tune again to be sure of it"
        )
    elif choice.stale:
        warn_once(
            f"{key.backend} runs its default: the tuned configurations for {key.device} are of "
            "another version of the kernel or its compiler, as radialbench doctor says; tune again"
        )
    return choice


def stale_reasons(record: TuningRecord) -> list[str]:
    """Return why a record is not of the kernel and the compiler that are here; empty if it is."""
    backend, direction = record.key.backend, record.key.direction
    if backend not in _sources(direction):
        return [not_tuned(backend, direction)]
    return record.stale_reasons(source_hash(backend, direction), compiler_version(backend))


def not_tuned(backend: str, direction: str) -> str:
    """Describe a backend that has nothing to tune."""
    if direction == "forward" or backend not in SOURCES:
        return f"{backend} is not tuned"
    return f"{backend} has nothing to tune {direction}: its blocks and stages are fixed there"


def _sources(direction: str) -> dict[str, tuple[str, ...]]:
    return {"forward": SOURCES, "backward": GRADIENT_SOURCES}.get(direction, {})


def records_of(device: str, configs: str | Path | None = None) -> tuple[TuningRecord, ...]:
    """Return the records that may hold for a device, the user's own first.

    Args:
        device: Name of the GPU or CPU.
        configs: The user's own records; those of `user_records` if not given.

    Raises:
        RecordError: Records cannot be read.
    """
    first = SHIPPED / file_name(device)
    shipped = [*([first] if first.exists() else []), *sorted(SHIPPED.glob(f"{first.stem}.*.jsonl"))]
    files = [*_user_files(configs), *shipped]
    return tuple(record for path in files for record in _records(path))


def user_records() -> tuple[TuningRecord, ...]:
    """Return the records of `RADIALBENCH_CONFIGS`, or of `user_folder` if that is not set.

    Raises:
        RecordError: Records cannot be read.
    """
    return tuple(record for path in _user_files(None) for record in _records(path))


def shipped_records() -> tuple[TuningRecord, ...]:
    """Return the records of all devices that come with the package.

    Raises:
        RecordError: Records cannot be read.
    """
    return tuple(record for path in sorted(SHIPPED.glob("*.jsonl")) for record in _records(path))


def file_name(device: str) -> str:
    """Return the name of the file that holds the records of a device."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".jsonl"


def device_name(device: str) -> str:
    """Return the name of the GPU or CPU of a device of PyTorch.

    Raises:
        BackendError: There is no such GPU.
    """
    if not device.startswith("cuda"):
        return cpu_name()
    import torch

    if not torch.cuda.is_available():
        raise BackendError(f"there is no {device!r} to name: PyTorch finds no GPU on this machine")
    return torch.cuda.get_device_name(device)


def _user_files(configs: str | Path | None) -> list[Path]:
    if configs is not None:
        return files_of(Path(configs))
    if not (named := os.environ.get(VARIABLE)):
        folder = user_folder()
        return files_of(folder) if folder.is_dir() else []
    if not Path(named).exists():
        raise RecordError(f"{VARIABLE} names {named}, which is neither a file nor a folder")
    return files_of(Path(named))


def _records(path: Path) -> tuple[TuningRecord, ...]:
    try:
        stat = path.stat()
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, changed: int, size: int) -> tuple[TuningRecord, ...]:
    """Read a file again only after it changed."""
    return read_records(path)


@cache
def warn_once(text: str) -> None:
    """Warn the caller of a launch, once for each text."""
    warnings.warn(text, stacklevel=4)


@cache
def source_hash(backend: str, direction: str = "forward") -> str:
    """Return a short hash of the code of a backend's kernel, without comments.

    Raises:
        BackendError: The backend cannot be tuned in this direction.
    """
    sources = _sources(direction)
    if backend not in sources:
        raise BackendError(f"only {', '.join(sources)} can be tuned, got {backend!r}")
    digest = hashlib.sha256()
    for name in sources[backend]:
        for line in code_of(FOLDER / name):
            digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]


@cache
def compiler_version(backend: str) -> dict[str, str]:
    """Return name and version of the library that compiles a backend's kernel.

    Raises:
        BackendError: The backend cannot be tuned.
    """
    if backend not in COMPILERS:
        raise BackendError(f"only {', '.join(COMPILERS)} can be tuned, got {backend!r}")
    library = COMPILERS[backend]
    return versions([library]) or {library: "not installed"}


def code_of(path: Path) -> Iterator[str]:
    """Yield the lines of code of a Python file, without imports, comments, docstrings, spaces."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    marks = {tokenize.INDENT: ">", tokenize.DEDENT: "<"}
    line: list[str] = []
    is_docstring = True
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in marks:
                yield marks[token.type]
            elif token.type == tokenize.NEWLINE:
                if not is_docstring and line[0] not in ("import", "from"):
                    yield "".join(line)
                line, is_docstring = [], True
            elif token.type not in silent:
                line.append(token.string)
                is_docstring = is_docstring and token.type == tokenize.STRING
