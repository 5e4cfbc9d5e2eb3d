"""Results to check: made up, measured in moments, and a repository whose last commit changed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from radialbench.records.result import Record
from radialbench.records.store import RESULTS, append
from tests.reports.check.noise import record
from tests.suites import small

STEADY = [1 + 0.002 * ((7 * call) % 11 - 5) / 5 for call in range(60)]

WINDOW = "name: window\nabout: Frames beside each other.\nmask: abs(dt) <= {reach}\n"


def case(name: str, factor: float = 1.0, calls: int = 60) -> Record:
    """A case whose time is known, and how often it was called."""
    return record(name, [factor * ms for ms in STEADY[:calls]])


@pytest.fixture
def results(tmp_path: Path) -> Callable[..., Path]:
    """Write records as a run does."""

    def written(name: str, *records: Record) -> Path:
        for one in records:
            (tmp_path / name).mkdir(exist_ok=True)
            append(tmp_path / name / RESULTS, one)
        return tmp_path / name

    return written


def three_calls(document: dict[str, object]) -> None:
    document["protocol"] = {"min_samples": 3, "max_samples": 3, "max_seconds": 1}


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite that is measured in moments, with too few samples to tell."""
    text = small.text_of(three_calls)
    return small.written(tmp_path_factory.mktemp("suite"), text)


@pytest.fixture(scope="session")
def measured(suite: Path) -> Path:
    """Its results."""
    command = [sys.executable, "-m", "radialbench", "run", str(suite), "-q", "-o"]
    subprocess.run(
        [*command, str(suite.parent / "measured")], check=True, stdout=subprocess.DEVNULL
    )
    return suite.parent / "measured"


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A team's repository, with a suite of masks; its last commit changed one of them."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")

    def change(document: dict[str, list[dict[str, object]]]) -> None:
        document["cases"][0].update(
            masks=["window.yaml"], grids=[{"frames": 4, "height": 4, "width": 4}]
        )

    small.written(folder, small.text_of(change))
    for reach in (1, 0):
        (folder / "window.yaml").write_text(WINDOW.format(reach=reach))
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", f"reach {reach}")
    return folder
