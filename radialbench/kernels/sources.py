"""source_hash: whether a kernel is still the one that was tuned."""

import hashlib
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from radialbench.errors import BackendError

FOLDER = Path(__file__).parent

SOURCES: dict[str, tuple[str, ...]] = {
    "cpu": ("backends/cpu.py",),
    "hopper": ("triton/forward_hopper.py",),
    "triton": ("triton/forward.py",),
}
"""The files that compute, of each backend that can be tuned."""

COMPILERS = {"cpu": "torch", "hopper": "triton", "triton": "triton"}
"""The library that decides how fast they do."""


@cache
def source_hash(backend: str) -> str:
    """Return a short hash of a backend's kernel: of its code, whatever its comments say.

    Raises:
        BackendError: The backend cannot be tuned.
    """
    if backend not in SOURCES:
        raise BackendError(f"only {', '.join(SOURCES)} can be tuned, got {backend!r}")
    found = hashlib.sha256()
    for name in SOURCES[backend]:
        for line in code_of(FOLDER / name):
            found.update(line.encode() + b"\n")
    return found.hexdigest()[:16]


@cache
def compiler_version(backend: str) -> dict[str, str]:
    """Return the version of the library that compiles a backend's kernel, by name.

    Raises:
        BackendError: The backend cannot be tuned.
    """
    if backend not in COMPILERS:
        raise BackendError(f"only {', '.join(COMPILERS)} can be tuned, got {backend!r}")
    library = COMPILERS[backend]
    try:
        return {library: version(library)}
    except PackageNotFoundError:
        return {library: "not installed"}


def code_of(path: Path) -> Iterator[str]:
    """Yield the lines of a Python file that do something, without comments and spaces."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    marks = {tokenize.INDENT: ">", tokenize.DEDENT: "<"}
    line: list[str] = []
    does_nothing = True
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in marks:
                yield marks[token.type]
            elif token.type == tokenize.NEWLINE:
                if not does_nothing:
                    yield "".join(line)
                line, does_nothing = [], True
            elif token.type not in silent:
                line.append(token.string)
                # A line that is a string and nothing else is there for people.
                does_nothing = does_nothing and token.type == tokenize.STRING
