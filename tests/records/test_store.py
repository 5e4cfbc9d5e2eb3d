import errno
import fcntl
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.errors import RecordError
from radialbench.records.codec import to_dict
from radialbench.records.result import SCHEMA
from radialbench.records.store import WriteError, append, read, reserved
from tests.records.sample import RECORD, failed

SECOND = failed(case="second")


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append(path, RECORD)
    append(path, SECOND)
    found = read(path)
    assert found.records == (RECORD, SECOND)
    assert found.skipped == ()
    assert len(path.read_text().splitlines()) == 2


def test_every_cut_of_a_line_is_skipped_and_the_next_append_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append(path, RECORD)
    whole = path.read_bytes()
    for cut in range(1, len(whole) - 1, 37):
        path.write_bytes(whole + whole[:cut])
        append(path, SECOND)
        found = read(path)
        assert found.records == (RECORD, SECOND)
        assert found.skipped == ("line 2: not JSON, or not all of it",)


def test_a_line_that_lost_only_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append(path, RECORD)
    path.write_bytes(path.read_bytes()[:-1])
    append(path, SECOND)
    assert read(path).records == (RECORD, SECOND)


@pytest.mark.parametrize(
    "line",
    [
        b'{"name": "foreign"}',
        b"[1, 2]",
        b"\xff\xfe\x00",
        b"NaN",
        b"plain words",
        b"[" * 100_000,
    ],
)
def test_foreign_lines_are_skipped_and_reported(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "results.jsonl"
    append(path, RECORD)
    path.write_bytes(line + b"\n\n" + path.read_bytes())
    found = read(path)
    assert found.records == (RECORD,)
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("line 1: ")


def test_the_former_form_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"schema": 1, "suite": "smoke", "mask": "radial", "group": null}')
    message = r"results.jsonl:1: written in version 1; this version reads 2: measure again, or read"
    with pytest.raises(RecordError, match=message):
        read(path)


def test_a_newer_form_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    line = to_dict(RECORD) | {"schema": SCHEMA + 1, "novelty": True}
    path.write_text(json.dumps(line))
    with pytest.raises(
        RecordError, match=rf"results.jsonl:1: written in version {SCHEMA + 1}; .*up"
    ):
        read(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot read .*none.jsonl: No such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(RecordError, match=r"cannot read .*: Is a directory"):
        read(tmp_path)
    with pytest.raises(RecordError, match=r"cannot write .*: Is a directory"):
        append(tmp_path, RECORD)


def test_a_full_disk_is_an_error_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.jsonl"
    append(path, RECORD)
    real_write = os.write

    def full_after_ten_bytes(handle: int, data: bytes) -> int:
        if len(data) <= 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(handle, data[: len(data) - 10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_after_ten_bytes)
        with pytest.raises(WriteError, match="No space left on device; what was written before"):
            append(path, SECOND)
    assert read(path).records == (RECORD,)
    assert read(path).skipped == ()
    append(path, SECOND)
    assert read(path).records == (RECORD, SECOND)


def test_a_number_that_is_not_finite_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert RECORD.accuracy is not None
    with pytest.raises(RecordError, match="only finite"):
        append(path, failed(accuracy=replace(RECORD.accuracy, rms_error=float("nan"))))
    assert not path.exists()


def test_a_file_is_reserved_for_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with reserved(path):
        append(path, RECORD)
        refused = pytest.raises(RecordError, match=r"another run is writing to .*results.jsonl; wa")
        with refused, reserved(path):
            pass
    with reserved(path):
        append(path, SECOND)
    assert read(path).records == (RECORD, SECOND)


def test_the_end_of_a_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    code = (
        "import os, sys; from pathlib import Path; from radialbench.records.store import reserved\n"
        "with reserved(Path(sys.argv[1])):\n"
        "    print('reserved', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == "reserved\n"
        with pytest.raises(RecordError, match="another run is writing"), reserved(path):
            pass
        other.kill()
    with reserved(path):
        append(path, RECORD)


def test_a_file_system_without_locks_locks_out_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with reserved(tmp_path / "results.jsonl"):
        append(tmp_path / "results.jsonl", RECORD)


def test_what_cannot_be_opened_cannot_be_reserved(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"), reserved(tmp_path):
        pass
