"""Versions of radialbench: the one that runs, and those of its git repository, each in a tree."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from radialbench.errors import SuiteError
from radialbench.kernels.measure.environment import git_environment
from radialbench.suites.keeper import run_kept, temporary_folder

PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of radialbench, run with this process's libraries; `root` holds its package."""

    name: str
    root: Path

    def run(self, words: Sequence[str | Path]) -> tuple[int, str, str]:
        """Run Python with this version's package; the process ends with this one.

        Args:
            words: Arguments of `python -P`, such as `-m radialbench`.

        Returns:
            The exit code, standard output and standard error.
        """
        done = run_kept(
            [sys.executable, "-P", *map(str, words)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(self.root), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            errors="replace",
        )
        return done.returncode, done.stdout, done.stderr


def last_line(errors: str, code: int) -> str:
    """Return the last line that a process wrote to standard error, or its exit code."""
    lines = errors.strip().splitlines() or [f"it exits with {code} and prints nothing"]
    return lines[-1].removeprefix("radialbench: ")


def this_version() -> Version:
    """Return the version that runs."""
    return Version("this version", PACKAGE.parent)


@contextmanager
def checked_out(ref: str, package: Path = PACKAGE) -> Iterator[Version]:
    """Check out a commit of a package's repository into a temporary tree.

    The repository's own tree and index are left alone.

    Raises:
        SuiteError: The package is in no repository, there is no such commit, or it cannot be
            checked out or holds no package to run.
    """
    package = package.resolve()
    top = _repository(package)
    commit = _commit(package, ref)
    remove = ("worktree", "remove", "--force", "--force")
    undo = ["git", "-C", str(top), *remove, "{}/tree"]
    with temporary_folder(undo=[undo]) as folder:
        tree = folder / "tree"
        try:
            _git(package, "worktree", "add", "--detach", "--quiet", str(tree), commit)
            root = tree / package.parent.relative_to(top)
            if not (root / package.name / "__main__.py").exists():
                raise SuiteError(
                    f"{ref} has no radialbench to run at {package.name}; choose a later commit"
                )
            yield Version(f"{ref} ({commit[:12]})", root)
        finally:
            # Forced twice, as an incomplete worktree is locked.
            with suppress(SuiteError):
                _git(package, *remove, str(tree))


def _repository(package: Path) -> Path:
    """Return the repository that a package is part of."""
    clone = "a clone of radialbench has its versions: run `python -m radialbench` in one"
    try:
        top = _git(package, "rev-parse", "--show-toplevel")
    except _GitError:
        raise SuiteError(f"{package} is in no git repository; {clone}") from None
    if not _git(package, "ls-files", "--", "__init__.py"):
        raise SuiteError(
            f"{package} is installed in the git repository {top}, and is no part of it; {clone}"
        )
    return Path(top)


def _commit(package: Path, ref: str) -> str:
    """Return a commit's full name; git would read a name that begins with `-` as an option."""
    try:
        if ref.startswith("-"):
            raise SuiteError("no name of a commit begins with -")
        return _git(package, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    except SuiteError:
        raise SuiteError(
            f"there is no commit {ref[:80]!r} in the repository of {package}. A clone that is not "
            "whole lacks most of them: git fetch origin REF brings one"
        ) from None


class _GitError(SuiteError):
    """A command of git failed."""


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *words]
    try:
        # Ctrl-C must not end what cleans up.
        done = subprocess.run(
            command,
            cwd=folder,
            env=git_environment(),
            capture_output=True,
            text=True,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise SuiteError("git is not installed, and finds the version to compare with") from None
    if done.returncode:
        reason = last_line(done.stderr, done.returncode)
        raise _GitError(f"git {' '.join(words[:2])} failed in {folder}: {reason}")
    return done.stdout.strip()
