"""A job that dies, hangs or raises is a reason, and the others go on."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from radialbench.suites.pool import Failed, JobPool, PoolJob
from tests.processes import gone
from tests.suites.jobs import Add, Die, Exit, Hang, Hold, Note, Raise

MINUTES = 600
"""Stops what hangs. Children give way to all else: on a busy machine they take their time."""


@pytest.fixture(scope="module")
def pool() -> Iterator[JobPool]:
    with JobPool(1, limit_s=MINUTES) as one:
        yield one


def wait_for(path: Path) -> str:
    end = time.monotonic() + MINUTES
    while not (path.exists() and path.read_text(encoding="ascii")):
        assert time.monotonic() < end
        time.sleep(0.01)
    return path.read_text(encoding="ascii")


def test_jobs_are_done_once_in_a_process_that_is_not_this_one(pool: JobPool) -> None:
    (first, here), again, (second, there) = map(pool.result, [Add(1, 2), Add(1, 2), Add(3, 4)])
    assert (first, second) == (3, 7)
    assert again == (first, here)
    assert here == there != os.getpid()


def test_what_a_job_raises_is_its_result(pool: JobPool) -> None:
    assert pool.result(Raise(ours=True)) == Failed("blocks are 17")
    assert pool.result(Raise(ours=False)) == Failed("ValueError: not a number")


def test_a_job_that_ends_its_process_loses_no_other(pool: JobPool) -> None:
    jobs: list[PoolJob] = [Die("LLVM ERROR: cannot\nselect"), Add(5, 6), Die(), Exit(), Add(7, 8)]
    pool.add(jobs)
    aborted, first, silent, exited, last = (pool.result(job) for job in jobs)
    end = "the process was ended by SIGABRT"
    assert aborted == Failed(f"{end}; it said: LLVM ERROR: cannot select")
    assert silent == Failed(end)
    assert exited == Failed("the process exited with code 7")
    assert first[0] == 11
    assert last[0] == 15


def test_a_job_that_hangs_is_stopped_with_its_process(tmp_path: Path) -> None:
    with JobPool(1, limit_s=MINUTES) as pool:
        _, process = pool.result(Add(0, 1))
        # Only now, as a process also takes its time to start.
        pool._limit_s = 1
        assert pool.result(Hang(tmp_path / "pid")) == Failed("stopped: not done within 1 s")
        assert gone(process)
        pool._limit_s = MINUTES
        assert pool.result(Add(1, 1))[0] == 2


def test_the_job_that_is_waited_for_goes_first(pool: JobPool, tmp_path: Path) -> None:
    path, hold = tmp_path / "order", Hold(tmp_path / "begun", tmp_path / "go")
    jobs = [Note(path, str(place)) for place in range(4)]
    last = Note(path, "asked last, needed now")
    pool.add([hold, *jobs])
    wait_for(hold.begun)
    with ThreadPoolExecutor(2) as threads:
        # Each is waited for while the first is done, and so are before all others.
        for job in (jobs[2], last):
            threads.submit(pool.result, job)
            while next(iter(pool._waiting)) != job:
                time.sleep(0.01)
        hold.go.touch()
    for job in jobs:
        pool.result(job)
    lines = path.read_text(encoding="ascii").splitlines()
    assert lines == ["asked last, needed now", "2", "0", "1", "3"]


def test_jobs_that_are_dropped_are_not_done(pool: JobPool, tmp_path: Path) -> None:
    path, hold = tmp_path / "order", Hold(tmp_path / "begun", tmp_path / "go")
    pool.add([hold, Note(path, "dropped")])
    wait_for(hold.begun)
    pool.drop()
    hold.go.touch()
    assert pool.result(Note(path, "later")) == "later"
    assert path.read_text(encoding="ascii").splitlines() == ["later"]


def test_children_end_with_the_pool_whatever_they_do(tmp_path: Path) -> None:
    with JobPool(2, limit_s=MINUTES) as pool:
        pool.add([Hang(tmp_path / "pid"), Add(1, 1), Add(1, 2)])
        process = int(wait_for(tmp_path / "pid"))
    assert gone(process)


def test_no_child_is_waited_for_before_all_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill, wait = os.killpg, subprocess.Popen.wait
    killed: set[int] = set()
    all_are = threading.Event()
    in_time: list[bool] = []

    def killing(process: int, kind: int) -> None:
        killed.add(process)
        if len(killed) == 3:
            all_are.set()
        kill(process, kind)

    def waiting(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        in_time.append(all_are.wait(MINUTES))
        return wait(process, timeout)

    paths = [tmp_path / str(place) for place in range(3)]
    with JobPool(3, limit_s=MINUTES) as pool:
        pool.add(map(Hang, paths))
        processes = {int(wait_for(path)) for path in paths}
        monkeypatch.setattr(os, "killpg", killing)
        monkeypatch.setattr(subprocess.Popen, "wait", waiting)
    assert killed == processes
    assert all(in_time)
    assert all(map(gone, processes))


def test_a_pool_that_is_closed_twice_has_no_children() -> None:
    with JobPool(1, limit_s=MINUTES) as pool:
        _, process = pool.result(Add(1, 2))
        pool.close()
        assert gone(process)


def test_jobs_are_done_side_by_side(tmp_path: Path) -> None:
    with JobPool(2, limit_s=MINUTES) as pool:
        pool.add([Hang(tmp_path / "pid")])
        wait_for(tmp_path / "pid")
        assert pool.result(Add(2, 2))[0] == 4
