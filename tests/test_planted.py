"""Slowdowns that are planted in our kernels are caught by both kinds of check.

Each plant is a commit in a temporary repository of the package as it is here. It is compiled and
compared with the commit before (`radialbench check --offline --strict`), and timed beside it
(`radialbench check --against`). Both must exit with 1, and the timed one must name the planted
kernels and no others.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
JUDGED = ("latency", "status")

SUITE = """\
name: planted
tags: [gpu]
device: cuda
cases:
  # Wan2.1 1.3B at 480p, 49 frames.
  - masks: [radial]
    grids: [{frames: 13, height: 30, width: 52}]
    heads: 12
    head_dim: 128
    backends: [hopper, triton]
"""
KERNELS = ("hopper", "triton")

LOOP = """\
    for step in range(1, full_count):
"""
WAIT = """\
        mbarrier.wait(v_full.index(step % BUFFERS), (step // BUFFERS) & 1)
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement of a text that the file holds once.

    Attributes:
        path: File in the package.
        old: The text.
        new: Its replacement.
    """

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Plant:
    """A slowdown.

    Attributes:
        name: Its description.
        backends: The kernels it slows down; others have equal code.
        edits: The changes.
    """

    name: str
    backends: tuple[str, ...]
    edits: tuple[Edit, ...]


PLANTS = (
    Plant(
        "one stage fewer",
        ("hopper", "triton"),
        (
            Edit("kernels/triton/launch.py", '"BUFFERS": config.num_stages or 2', '"BUFFERS": 1'),
            Edit(
                "kernels/triton/compile.py",
                '"BUFFERS": config.num_stages or 2,\n    }',
                '"BUFFERS": 1,\n    }',
            ),
            Edit(
                "kernels/select.py",
                "config.num_stages or stages}",
                "config.num_stages or max(1, stages - 1)}",
            ),
        ),
    ),
    # Values are awaited a step before they are used, so that no copy hides behind the products.
    Plant(
        "one barrier more",
        ("hopper",),
        (Edit("kernels/triton/forward_hopper.py", LOOP, LOOP + WAIT),),
    ),
)


class Repository:
    """A temporary git repository of the package: as it is in the first commit, then planted.

    Args:
        root: Its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / "radialbench"

    def radialbench(self, *words: str | Path) -> tuple[int, str, str]:
        """Run the command line of its tree; returns exit code, output and errors."""
        path = os.pathsep.join([str(self.root), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-m", "radialbench", *map(str, words)],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    def plant(self, plant: Plant) -> None:
        """Change the tree, and commit that.

        Raises:
            ValueError: A text is not there, or more than once.
        """
        for edit in plant.edits:
            path = self.package / edit.path
            text = path.read_text(encoding="utf-8")
            if text.count(edit.old) != 1:
                raise ValueError(
                    f"{plant.name}: radialbench/{edit.path} holds {edit.old!r} "
                    f"{text.count(edit.old)} times, not once: plant another text"
                )
            path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        self.commit(plant.name)

    def commit(self, message: str) -> None:
        """Commit everything in the tree."""
        author = (
            "-c",
            "user.name=planted",
            "-c",
            "user.email=planted@localhost",
            "-c",
            "commit.gpgsign=false",
        )
        self.git("add", "--all")
        self.git(*author, "commit", "--quiet", "--message", message)

    def git(self, *words: str) -> str:
        """Run git in the tree, and return its output."""
        # What git's hooks set would send these commands to another repository.
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=env, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.strip()


@contextmanager
def repository(package: Path = ROOT / "radialbench") -> Iterator[Repository]:
    """Make a temporary repository of a package."""
    with tempfile.TemporaryDirectory(prefix="radialbench-") as folder:
        made = Repository(Path(folder) / "repository")
        shutil.copytree(package, made.package, ignore=shutil.ignore_patterns("__pycache__"))
        (made.root / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
        made.git("init", "--quiet")
        made.commit("as it is")
        yield made


def wrongly_named(plant: Plant, verdicts: Sequence[dict[str, Any]]) -> str:
    """Describe a difference between planted and detected slowdowns; empty if there is none."""
    slow = {
        _backend(one["case"])
        for one in verdicts
        if (one["metric"], one["outcome"]) == ("latency", "regressed")
    }
    if slow == set(plant.backends):
        return ""
    return f"the timed check calls {sorted(slow)} slower, planted was {sorted(plant.backends)}"


def _backend(case: str) -> str:
    return case.rsplit("/", 1)[1].split("@")[0]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "planted.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.mark.slow
def test_an_offline_check_catches_them(suite: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "before.jsonl"
    with repository() as made:
        made.radialbench("check", "--offline", suite, "--write", baseline)
        for plant in PLANTS:
            made.plant(plant)
            words = ("check", "--offline", suite, "--baseline", baseline, "--strict")
            code, out, err = made.radialbench(*words)
            assert code == 1, f"{plant.name}: {err}"
            assert all(f" kernel {name}@" in " ".join(out.split()) for name in plant.backends)
            made.git("reset", "--quiet", "--hard", "HEAD~1")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS, ids=lambda one: one.name)
def test_a_timed_check_catches_it(plant: Plant, suite: Path, tmp_path: Path) -> None:
    with repository() as made:
        made.plant(plant)
        words = ("--against", "HEAD~1", "--rounds", "2", "--results", tmp_path / "results")
        code, out, err = made.radialbench("check", suite, *words, "--format", "json")
    assert code == 1, err
    verdicts = [one for one in json.loads(out)["verdicts"] if one["metric"] in JUDGED]
    assert wrongly_named(plant, verdicts) == ""


@pytest.mark.parametrize("one", PLANTS, ids=lambda one: one.name)
def test_plants_fit_the_kernels(one: Plant) -> None:
    with repository() as found:
        before = {edit.path: _text(found, edit.path) for edit in one.edits}
        found.plant(one)
        for path, text in before.items():
            assert _text(found, path) != text
            ast.parse(_text(found, path))
        subjects = found.git("log", "--format=%s")
        changed = found.git("diff", "--name-only", "HEAD~1")
    assert subjects.split("\n") == [one.name, "as it is"]
    assert changed.split() == sorted(f"radialbench/{path}" for path in before)


def _text(found: Repository, path: str) -> str:
    return (found.package / path).read_text(encoding="utf-8")


def test_every_kernel_is_slowed_down_and_some_plant_leaves_one_alone() -> None:
    assert {name for one in PLANTS for name in one.backends} == set(KERNELS)
    assert any(set(one.backends) < set(KERNELS) for one in PLANTS)


@pytest.mark.parametrize(("old", "count"), [("no such text", 0), ("a", 3)])
def test_a_text_that_is_not_there_once_is_not_planted(tmp_path: Path, old: str, count: int) -> None:
    package = tmp_path / "radialbench"
    package.mkdir()
    (package / "a.py").write_text("a = a + a\n", encoding="utf-8")
    edit = Edit("a.py", old, "b")
    with repository(package) as found, pytest.raises(ValueError, match=f" {count} times, not once"):
        found.plant(Plant("none", (), (edit,)))


def test_a_check_must_name_what_was_planted_and_nothing_else() -> None:
    slow = {"case": "radial/13x30x52/h12d128bf16/hopper", "metric": "latency"}
    slow |= {"outcome": "regressed"}
    other = slow | {"case": "radial/13x30x52/h12d128bf16/triton", "outcome": "pass"}
    one = Plant("one", ("hopper",), ())
    assert wrongly_named(one, [slow, other]) == ""
    for wrong in ([other], [slow, other | {"outcome": "regressed"}], [slow | {"metric": "status"}]):
        assert "planted was ['hopper']" in wrongly_named(one, wrong)
