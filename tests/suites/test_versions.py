"""Versions from git: what is checked out, that it is removed, and what cannot be found."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radialbench.errors import SuiteError
from radialbench.suites.versus import Version, checked_out
from tests.processes import gone

WHO = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
WHO |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(folder: Path, *words: str) -> str:
    command = ["git", *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | WHO, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a repository's folder `python`, committed once without and once with itself."""
    package = tmp_path / "repository" / "python" / "radialbench"
    package.mkdir(parents=True)
    git(package.parents[1], "init", "-q")
    (package.parent / "notes").write_text("first")
    git(package, "add", "-A", "..")
    git(package, "commit", "-q", "-m", "first")
    git(package, "tag", "empty")
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys; print('committed', *sys.argv[1:])")
    git(package, "add", "-A")
    git(package, "commit", "-q", "-m", "second")
    (package / "__main__.py").write_text("print('changed')")
    return package


def state(package: Path) -> tuple[str, str, str]:
    names = ("status --short", "worktree list", "branch -a")
    one, other, third = (git(package, *words.split()) for words in names)
    return one, other, third


def test_a_commit_is_run_and_removed_and_the_tree_is_left_alone(package: Path) -> None:
    before = state(package)
    with checked_out("HEAD", package) as version:
        assert version.name.startswith("HEAD (")
        assert version.root.name == "python"
        assert version.run(["-m", "radialbench", "a"]) == (0, "committed a\n", "")
        assert len(git(package, "worktree", "list").splitlines()) == 2
    assert not version.root.exists()
    assert state(package) == before
    assert Version("now", package.parent).run(["-m", "radialbench"]) == (0, "changed\n", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SuiteError])
def test_it_is_removed_whatever_happens(error: type[BaseException], package: Path) -> None:
    before = state(package)
    with pytest.raises(error), checked_out("HEAD", package) as version:
        raise error
    assert not version.root.exists()
    assert state(package) == before


def test_what_hooks_set_and_hooks_themselves_change_nothing(
    package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hook = Path(git(package, "rev-parse", "--git-path", "hooks/post-checkout").strip())
    hook = package / hook
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    with checked_out("HEAD", package) as version:
        assert version.run(["-m", "radialbench"]) == (0, "committed\n", "")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "index").exists()


def test_what_cannot_be_found_is_told(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "no_such_branch": "there is no commit 'no_such_branch'",
        "--upload-pack=x": "there is no commit '--upload-pack=x'",
        "empty": "empty has no radialbench to run",
    }
    before = state(package)
    for ref, words in told.items():
        with pytest.raises(SuiteError, match=words), checked_out(ref, package):
            pass
    assert state(package) == before
    with pytest.raises(SuiteError, match="is in no git repository; a clone of radialbench has"):
        checked_out("HEAD", tmp_path).__enter__()
    installed = package.parents[1] / "site-packages" / "radialbench"
    shutil.copytree(package, installed)
    with pytest.raises(SuiteError, match="installed in the git repository .*, and is no part of"):
        checked_out("HEAD", installed).__enter__()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SuiteError, match="git is not installed"), checked_out("HEAD", package):
        pass


def test_ctrl_c_ends_what_was_started(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    inner = f"import os, time; open({str(begun)!r}, 'w').write(str(os.getpid())); time.sleep(3600)"
    outer = (
        "from pathlib import Path; from radialbench.suites.versus import Version\n"
        f"Version('now', Path('.')).run(['-c', {inner!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", outer], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (begun.exists() and begun.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(600) != 0
    assert gone(int(begun.read_text()))
