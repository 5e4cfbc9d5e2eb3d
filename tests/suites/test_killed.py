"""A run that is killed at any moment goes on without losing a record or writing one twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from radialbench.records.store import RESULTS, read
from radialbench.suites.plan import plan
from radialbench.suites.run import CaseEnded, RunEvent, run
from tests.suites import killed

KILLS = 20
SEED = 4
MORE = 10


@pytest.mark.slow
def test_no_kill_loses_a_record_or_doubles_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.suites.killed", str(tmp_path), str(KILLS), str(SEED)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    kills = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(kills) == KILLS
    results = tmp_path / RESULTS
    planned = [case.id for case in plan(killed.suite())]
    written = results.read_bytes()
    for kill in kills:
        early = tmp_path / "early.jsonl"
        early.write_bytes(written[: kill["size"]])
        assert set(kill["ended"]) <= {record.case for record in read(early).records}
    before = len(read(results).records)
    assert before >= sum(len(kill["ended"]) for kill in kills) > KILLS
    events: list[RunEvent] = []

    def stop(event: RunEvent) -> None:
        events.append(event)
        if sum(isinstance(one, CaseEnded) for one in events) == MORE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(killed.suite(), tmp_path, resume=True, in_process=True, on_event=stop)
    found = read(results)
    # Each once and in the order of the plan, as if nothing had happened.
    assert [record.case for record in found.records] == planned[: before + MORE]
    # None was run again.
    assert events[0].total == len(planned) - before
    assert len(found.skipped) <= KILLS
