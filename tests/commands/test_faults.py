"""Disks that are full or read-only, under verbs that write: one sentence, nothing half written."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radialbench.records.store import write_whole
from tests.commands.line import Capture, Cli
from tests.reports.factory import made

VERBS = {
    "report": "report run",
    "page": "report run -o page.html",
    "table of cases": "report run -o cases.parquet",
    "merge": "merge run -o merged",
    "check": "check run --baseline run -o json=check.json",
    "baseline": "baseline update run -o base.jsonl --reason first",
    "export": "export table radial --grid 3x2x6 -o radial.npz",
    "picture": "mask show radial --grid 3x2x6 --image radial.png",
    "offline": "check --offline none.yaml --write offline.jsonl",
}
SUITE = """\
device: cuda
cases:
  - masks: [radial]
    grids: [{frames: 3, height: 2, width: 6}]
    heads: 1
    head_dim: 16
    dtype: float32
    measure: compile
"""


def full(monkeypatch: pytest.MonkeyPatch) -> int:
    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    return errno.ENOSPC


def read_only(monkeypatch: pytest.MonkeyPatch) -> int:
    open_path = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if {*mode} & {*"xwa+"}:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return open_path(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    return errno.EROFS


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", [full, read_only], ids=lambda fault: fault.__name__)
def test_nothing_is_half_written(
    verb: str,
    fault: Callable[[pytest.MonkeyPatch], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    if verb == "table of cases":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "none.yaml").write_text(SUITE)
    write_whole(tmp_path / "run" / "results.jsonl", [made(samples=[1.0] * 6), made("dense")])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = VERBS[verb].split()
    cli = Cli(monkeypatch, capsys)
    with monkeypatch.context() as patched:
        number = fault(patched)
        code, _, error = Cli(patched, capsys)(*words)
    assert code in (1, 2), error
    assert os.strerror(number) in " ".join(error.split())
    assert "Traceback" not in error
    assert "unexpected error" not in error
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    code, _, error = cli(*words)
    assert code in (0, 3), error
    assert {*tmp_path.rglob("*")} > {*before} or verb == "check"
