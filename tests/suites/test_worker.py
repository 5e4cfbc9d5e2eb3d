"""A case that takes its process with it is a record, and the others go on in another process."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.kernels.backends import BACKENDS
from radialbench.records.result import Record, Status
from radialbench.suites.plan import Case, ended
from radialbench.suites.worker import RecordsByCase, Worker, WorkerError
from tests.processes import gone
from tests.records.sample import RECORD
from tests.suites import small

ODD = {
    "asserting": "DeviceAssert",
    "dying": "Dying",
    "exiting": "ExitingLater",
    "hanging": "Hanging",
    "pid": "Pid",
}
IN_TURN = {"interleave": True, "max_samples": 4, "max_seconds": 600}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in ODD.items():
            patch.setitem(BACKENDS, name, f"tests.suites.small:{kind}")
        with Worker("cpu", "typed") as one:
            yield one


def cases(*backends: str, **protocol: object) -> list[Case]:
    """Give dense attention on two frames, on each of some backends."""
    grid = {"frames": 2, "height": 3, "width": 5}
    told = {"max_seconds": 0.001, "timeout_seconds": 600} | protocol
    return list(small.cases(masks=["dense"], grids=[grid], backends=[*backends], protocol=told))


def silent(case: Case) -> None:
    """Show nothing."""


def alone(worker: Worker, case: Case) -> Record:
    (found,) = worker.attempt([case], silent)
    return found


def test_cases_share_a_process_that_is_not_this_one(worker: Worker) -> None:
    begun: list[str] = []
    (case,) = cases("pid")
    reasons = {worker.attempt([case], lambda c: begun.append(c.id))[0].reason for _ in range(3)}
    assert len(reasons) == 1
    assert reasons.isdisjoint({None, str(os.getpid())})
    assert begun == [case.id] * 3
    assert worker.environment.command == "typed"
    (measured,) = cases("cpu")
    found = alone(worker, measured)
    assert found.status == Status.OK
    assert found.timing is not None


@pytest.mark.slow
def test_a_case_that_takes_its_process_with_it_ends_alone(worker: Worker) -> None:
    dying, asserting, good = cases("dying", "asserting", "cpu")
    (hanging,) = cases("hanging", timeout_seconds=2)
    found = [alone(worker, case) for case in (dying, hanging, asserting, good)]
    assert [(one.status, one.reason) for one in found] == [
        (Status.CRASHED, "the process was ended by SIGSEGV while it was prepared"),
        (Status.TIMEOUT, "stopped: not prepared within 2 s"),
        (Status.CRASHED, "RuntimeError: CUDA error: device-side assert triggered"),
        (Status.OK, None),
    ]


@pytest.mark.slow
def test_cases_sampled_in_turn_with_one_that_crashes_are_sampled_in_turn_without_it(
    worker: Worker,
) -> None:
    begun: list[Case] = []
    batch = cases("cpu", "exiting", "reference", **IN_TURN)
    right, wrong, other = worker.attempt(batch, begun.append)
    assert wrong.status == Status.CRASHED
    assert wrong.reason == "the process exited with code 3 while it was sampled"
    assert wrong.accuracy is not None
    assert wrong.table is not None
    for found in (right, other):
        assert found.status == Status.OK
        assert found.timing is not None
        assert len(found.timing.samples_ms) == 4
    # In turn; each alone; in turn without the one.
    assert begun == [*batch, *batch, batch[0], batch[2]]


class Scripted(Worker):
    """Loses its process when the given cases are sampled in turn, as often as that is tried."""

    def __init__(self, *, together: bool, prepared: Sequence[str] = ()) -> None:
        super().__init__("cpu", "")
        self.together = together
        self.prepared = prepared
        self.tries: list[list[str]] = []

    def _try(
        self, cases: list[Case], begins: Callable[[Case], None]
    ) -> tuple[RecordsByCase, RecordsByCase]:
        records = {case.id: replace(RECORD, backend=case.backend) for case in cases}
        self.tries.append([str(case.backend) for case in cases])
        for key, record in records.items():
            if record.backend in self.prepared:
                return {key: ended(record, Status.CRASHED, "while it was prepared")}, {}
        if self.together and len(cases) > 1:
            lost = {k: ended(one, Status.CRASHED, "in company") for k, one in records.items()}
            return {}, lost
        return records, {}


def test_cases_that_crash_only_in_company_have_all_crashed() -> None:
    scripted = Scripted(together=True)
    found = scripted.attempt(cases("cpu", "reference"), silent)
    assert [one.reason for one in found] == ["in company"] * 2
    assert scripted.tries == [["cpu", "reference"], ["cpu"], ["reference"], ["cpu", "reference"]]


def test_a_case_that_crashes_while_it_is_prepared_is_left_out() -> None:
    scripted = Scripted(together=False, prepared=["cpu", "sdpa"])
    found = scripted.attempt(cases("cpu", "reference", "sdpa"), silent)
    assert [one.status for one in found] == [Status.CRASHED, Status.OK, Status.CRASHED]
    assert scripted.tries == [["cpu", "reference", "sdpa"], ["reference", "sdpa"], ["reference"]]


def test_another_device_after_a_crash_ends_the_run(worker: Worker) -> None:
    here = worker.environment
    process = worker._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    (case,) = cases("cpu")
    found = alone(worker, case)
    assert found.status == Status.CRASHED
    assert found.reason is not None
    assert found.reason.startswith("the process was ended by SIGKILL, as it is when memory runs")
    worker._environment = replace(here, device="NVIDIA H100")
    with pytest.raises(WorkerError, match=r"cases ran on NVIDIA H100, but .* finds cpu alone"):
        alone(worker, case)
    worker._environment = here


def test_a_process_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (case,) = cases("cpu")
    with Worker("cpu", "") as one:
        # Only now it is waited for.
        for ask in (lambda: one.environment, lambda: alone(one, case)):
            with pytest.raises(WorkerError, match="cannot start the process .* exited with code 1"):
                ask()


def test_a_process_that_nobody_has_waited_for_is_killed() -> None:
    with Worker("cpu", "") as one:
        process = one._process
        assert process is not None
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_is_hung_up_on_ends() -> None:
    with Worker("cpu", "") as one:
        process = one._process
        assert process is not None
        assert one.environment.device == "cpu"
        one.hang_up()
        assert process.wait(600) == 0


PROGRAM = """
from pathlib import Path
from radialbench.kernels.backends import BACKENDS
from radialbench.suites.run import run
from tests.records.sample import RECORD
from tests.suites import small
BACKENDS.update(pid="tests.suites.small:Pid", hanging="tests.suites.small:Hanging")
run(small.matrix(backends=["pid", "hanging"]), Path({folder!r}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_hangs_does_not_outlive_the_run(
    kind: signal.Signals, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROGRAM.format(folder=str(tmp_path))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        # What a case prints is no part of what the run prints.
        assert run.stderr.readline() == "asked\n"
        line = run.stderr.readline()
        assert line.startswith("hanging in ")
        hanging = int(line.split()[-1])
        run.send_signal(kind)
        # At its end too, as the two share their standard error.
        run.stderr.read()
        assert run.stdout.read() == ""
        run.wait(timeout=600)
    assert gone(hanging)
