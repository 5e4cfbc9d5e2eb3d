"""Files are written whole or not at all, where links lead, and by one process at a time."""

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import radialbench
from radialbench.writing import SUMS, is_output, locked, replacement, write_files


def write(path: Path, content: bytes = b"new") -> None:
    with replacement(path) as file:
        file.write(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A device like /dev/null, in a folder of the test's own."""
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.write_bytes(b"")
    except PermissionError:
        pytest.skip("needs the right to make devices")
    yield path
    path.unlink()


def test_a_failure_keeps_the_former_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacement(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_what_replaces_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write(path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 5678)
        write(path)
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(tmp_path: Path, there: bool) -> None:
    (tmp_path / "shared").mkdir()
    target, link = tmp_path / "shared" / "file", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(Path("shared") / "file")
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path / "shared") == ["file"]


def test_a_device_stays_one(device: Path) -> None:
    write(device)
    with locked(device):
        write(device)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(device.parent) == ["null"]


def test_a_pipe_gets_the_whole_text(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(pipe, b"all of it")
    reader.join(60)
    assert got == [b"all of it"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def run(code: str, *args: object) -> "subprocess.CompletedProcess[str]":
    lines = "import sys; from pathlib import Path; from radialbench.writing import *; " + code
    command = [sys.executable, "-c", lines, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_in_order(name: str) -> None:
    code = "print('a'); write_files({Path(sys.argv[1]): b'b\\n'}); print('c')"
    done = run(code, name)
    assert (done.stdout, done.stderr) == ("a\nb\nc\n", "")
    assert run("print(is_output(Path(sys.argv[1])))", name).stdout == "True\n"
    assert not is_output(Path("file"))


def test_standard_output_that_is_a_file_keeps_what_was_printed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from radialbench.writing import *; "
        "print('a'); write_files({Path('/dev/stdout'): b'b\\n'}); print('c')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, timeout=60)
    assert (tmp_path / "out").read_text() == "a\nb\nc\n"


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"old")
    bad = tmp_path / "gone" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write_files({kept: b"new", bad: b"new"})
    assert caught.value.filename == str(bad)
    assert kept.read_bytes() == b"old"
    assert names(tmp_path) == ["kept"]


def test_a_folder_is_marked_once_all_its_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {tmp_path / "one": b"1", tmp_path / "two": b"2"}
    write_files(files, folder=tmp_path)
    check = ["sha256sum", "--check", "--quiet", SUMS]
    subprocess.run(check, cwd=tmp_path, check=True)
    replaced: list[Path] = []

    rename = Path.replace

    def stop(part: Path, target: Path) -> None:
        if replaced:
            raise KeyboardInterrupt
        replaced.append(target)
        rename(part, target)

    monkeypatch.setattr(Path, "replace", stop)
    with suppress(KeyboardInterrupt):
        write_files(dict.fromkeys(files, b"new"), folder=tmp_path)
    assert replaced
    assert names(tmp_path) == ["one", "two"]


def test_changes_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    count = (
        "path = Path(sys.argv[1])\n"
        "for _ in range(50):\n"
        "    with locked(path):\n"
        "        known = path.read_bytes() if path.is_file() else b''\n"
        "        write_files({path: known + b'x'})"
    )
    lines = "import sys; from pathlib import Path; from radialbench.writing import *\n" + count
    command = [sys.executable, "-c", lines, str(tmp_path / "file")]
    for process in [subprocess.Popen(command) for _ in range(4)]:
        assert process.wait(60) == 0
    assert (tmp_path / "file").read_bytes() == 200 * b"x"
    assert names(tmp_path) == ["file"]


def test_nothing_else_in_the_package_writes_files() -> None:
    package = Path(radialbench.__file__).parent
    writes = re.compile(r"write_text\(|write_bytes\(|open\(.{0,40}[\"'][wx]|to_parquet\(")
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if writes.search(path.read_text(encoding="utf-8"))
    }
    # One clears a counter of the system's, one writes into a temporary folder of its own.
    others = {"kernels/measure/telemetry.py", "kernels/triton/compile.py"}
    assert found == {"writing.py"} | others


def test_a_lock_leaves_no_empty_file(tmp_path: Path) -> None:
    with locked(tmp_path / "file"):
        assert (tmp_path / "file").exists()
        with pytest.raises(BlockingIOError), locked(tmp_path / "file", wait=False):
            pass
    assert not names(tmp_path)
