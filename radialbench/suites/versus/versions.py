"""Versions of radialbench: the one that runs, and those of its git repository, each in a tree."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from radialbench.errors import SuiteError

PACKAGE = Path(__file__).resolve().parents[2]

GIT_PLACES = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")
"""What git's hooks set, and what would send our commands to another repository or index."""

END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Version:
    """A tree with a version of radialbench in it, to be run with this process's libraries.

    Attributes:
        name: For people.
        root: The folder that holds the package.
    """

    name: str
    root: Path

    def run(self, words: Sequence[str | Path]) -> tuple[int, str, str]:
        """Run Python with this version before all others; Ctrl-C ends what was started.

        Args:
            words: What follows `python -P`, such as `-m radialbench`.

        Returns:
            The exit code, and what was written to standard output and standard error.
        """
        process = subprocess.Popen(
            [sys.executable, "-P", *map(str, words)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(self.root), *sys.path])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Ctrl-C is for this process, which then ends the others.
            start_new_session=True,
        )
        try:
            out, told = process.communicate()
        except BaseException:
            # What it has started in sessions of their own dies with it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=END_SECONDS)
            raise
        return process.returncode, out, told


def this_version() -> Version:
    """Return the version that runs."""
    return Version("this version", PACKAGE.parent)


@contextmanager
def checked_out(ref: str, package: Path = PACKAGE) -> Iterator[Version]:
    """Check a commit of a package's repository out, into a tree of its own that is removed again.

    The repository's own tree and index are left alone.

    Args:
        ref: A branch, tag or commit.
        package: The package's folder.

    Raises:
        SuiteError: The package is in no repository, there is no such commit, or it cannot be
            checked out or holds no package to run.
    """
    package = package.resolve()
    top = Path(_git(package, "rev-parse", "--show-toplevel"))
    commit = _commit(package, ref)
    with tempfile.TemporaryDirectory(prefix="radialbench-") as folder:
        tree = Path(folder) / "tree"
        try:
            _git(package, "worktree", "add", "--detach", "--quiet", str(tree), commit)
            root = tree / package.parent.relative_to(top)
            if not (root / package.name / "__main__.py").exists():
                raise SuiteError(
                    f"{ref} has no radialbench to run at {package.name}; choose a later commit"
                )
            yield Version(f"{ref} ({commit[:12]})", root)
        finally:
            # Twice, as one that is not whole yet is locked.
            with suppress(SuiteError):
                _git(package, "worktree", "remove", "--force", "--force", str(tree))


def _commit(package: Path, ref: str) -> str:
    """Find a commit's full name. What begins with `-` would be an option."""
    try:
        if ref.startswith("-"):
            raise SuiteError("no name of a commit begins with -")
        return _git(package, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    except SuiteError:
        raise SuiteError(
            f"there is no commit {ref[:80]!r} in the repository of {package}. A clone that is not "
            "whole lacks most of them: git fetch origin REF brings one"
        ) from None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *words]
    env = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    try:
        # Ctrl-C must not end what cleans up.
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, start_new_session=True
        )
    except FileNotFoundError:
        raise SuiteError("git is not installed, and finds the version to compare with") from None
    if done.returncode:
        why = done.stderr.strip().splitlines()
        raise SuiteError(
            f"git {' '.join(words[:2])} failed in {folder}: {why[-1] if why else 'it says nothing'}"
        )
    return done.stdout.strip()
