"""A kernel's hash follows what its code does, not what is written beside it."""

import re
from pathlib import Path

import pytest

from radialbench.errors import BackendError
from radialbench.kernels import tuned
from radialbench.kernels.backends import BACKENDS
from radialbench.kernels.triton.launch import PREPARE
from radialbench.kernels.tuned import (
    FOLDER,
    SOURCES,
    compiler_version,
    shipped_records,
    source_hash,
    stale_reasons,
)
from radialbench.records.lookup import nearest_config

CODE = '''"""What it is."""

import triton


@triton.jit
def kernel(x, N: int):
    """What it does."""
    # Why.
    y = x + 1  # [N]

    return "said", y
'''


@pytest.fixture
def hash_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return the hash of a backend that is one file."""
    monkeypatch.setattr(tuned, "FOLDER", tmp_path)
    monkeypatch.setitem(SOURCES, "one", ("one.py",))

    def hashed(text: str) -> str:
        (tmp_path / "one.py").write_text(text, encoding="utf-8")
        return source_hash.__wrapped__("one")

    return hashed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Why.", "# Because, at length.\n    # Twice."),
        ("  # [N]", ""),
        ('    """What it does."""\n', ""),
        ('"""What it is."""', '"""What it was,\nand is."""'),
        ("x + 1", "x+1"),
        ("\n\n    return", "\n    return"),
        ("import triton\n", "import triton\nfrom where import (\n    names,\n)\n"),
    ],
)
def test_what_is_for_people_changes_nothing(old: str, new: str, hash_of: object) -> None:
    assert callable(hash_of)
    assert old in CODE
    assert hash_of(CODE) == hash_of(CODE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + 1", "x + 2"),
        ('"said"', '"told"'),
        ("@triton.jit\n", ""),
        ("    return", "    if y:\n        return"),
        ("N: int", "N"),
    ],
)
def test_what_the_code_does_changes_it(old: str, new: str, hash_of: object) -> None:
    assert callable(hash_of)
    assert old in CODE
    assert hash_of(CODE) != hash_of(CODE.replace(old, new))


def test_every_kernel_of_ours_has_its_files() -> None:
    assert PREPARE.keys() <= SOURCES.keys() <= BACKENDS.keys()
    for backend, files in SOURCES.items():
        assert all((FOLDER / file).is_file() for file in files)
        assert re.fullmatch(r"[0-9a-f]{16}", source_hash(backend))
    assert len({source_hash(backend) for backend in SOURCES}) == len(SOURCES)
    device = {f"triton/{path.name}" for path in FOLDER.glob("triton/forward*.py")}
    # Neither has anything to tune.
    device -= {"triton/forward_boxes.py", "triton/forward_hopper_fp8.py"}
    assert device == {file for name in PREPARE for file in SOURCES[name]}


def test_what_is_shipped_was_tuned_with_the_kernels_as_they_are() -> None:
    records = shipped_records()
    assert records
    assert {(r.key.backend, r.kernel) for r in records} == {
        (backend, source_hash(backend)) for backend in PREPARE
    }


def test_what_is_shipped_is_reached_or_reported() -> None:
    records = shipped_records()
    for record in records:
        key, kernel = record.key, record.kernel
        same = {name: record.versions[name] for name in compiler_version(key.backend)}
        found = nearest_config(records, key, kernel=kernel, versions=same)
        assert (found.record, found.stale) == (record, False)
        assert found.source == record.source
        here = nearest_config(
            records, key, kernel=source_hash(key.backend), versions=compiler_version(key.backend)
        )
        if not stale_reasons(record):
            assert here.record == record
        elif here.record is None:
            assert here.stale
        else:
            assert not here.stale
            assert not stale_reasons(here.record)


def test_what_is_shipped_works_with_the_versions_that_are_installed_first() -> None:
    """Of each backend something is fresh with the constraints' Triton, on the H200."""
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    fresh = {
        record.key.backend
        for record in shipped_records()
        if record.key.device == "NVIDIA H200"
        and not record.stale_reasons(source_hash(record.key.backend), {"triton": pinned["triton"]})
    }
    assert fresh == set(PREPARE)


def test_the_version_that_counts_is_of_what_compiles() -> None:
    assert set(compiler_version("triton")) == set(compiler_version("hopper")) == {"triton"}
    assert set(compiler_version("cpu")) == {"torch"}


@pytest.mark.parametrize("ask", [source_hash, compiler_version])
def test_a_backend_that_is_not_tuned(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(BackendError, match="only cpu, hopper, triton can be tuned, got 'sdpa'"):
        ask("sdpa")
