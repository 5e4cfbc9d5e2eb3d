"""Versions measured in turn: who comes when, what is pooled, and what a version cannot do."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.errors import RecordError, SuiteError
from radialbench.records.measurement import Measurement, Rounds, Telemetry
from radialbench.records.pooling import pooled
from radialbench.records.result import Record, Status
from radialbench.records.store import RESULTS, read
from radialbench.suites.versus import rounds as rounds_of
from radialbench.suites.versus.rounds import measure_rounds
from tests.records.sample import RECORD, failed
from tests.suites import small
from tests.suites.versions import Fake, fake, ids_of

CASES = small.cases(masks=["radial", "dense", "sta"])
SUITE = Path("small.yaml")


def of(case: str, *samples_ms: float) -> Record:
    return replace(RECORD, case=case, timing=Measurement(samples_ms, 1, "warm", "clock", None))


def test_each_version_measures_each_shape_as_often_and_comes_first_as_often(tmp_path: Path) -> None:
    calls: list[tuple[str, tuple[str, ...]]] = []

    def counted(name: str) -> Fake:
        def made(folder: Path, ids: Sequence[str]) -> list[Record]:
            calls.append((name, tuple(ids)))
            turn = float(folder.name.rpartition("-")[2])
            return [of(case, turn, turn + 10) for case in ids]

        return fake(name, CASES, made)

    versions = {name: counted(name) for name in ("before", "now")}
    measure_rounds(SUITE, CASES, versions, tmp_path, rounds=4)
    shapes = list(dict.fromkeys(case.group for case in CASES))
    assert len(shapes) == 2
    ids = {case.group: tuple(c.id for c in CASES if c.group == case.group) for case in CASES}
    assert Counter(calls) == {(name, ids[shape]): 4 for name in versions for shape in shapes}
    # The two versions of a shape follow each other at once.
    pairs = list(zip(calls[::2], calls[1::2], strict=True))
    assert all(one[1] == other[1] and one[0] != other[0] for one, other in pairs)
    firsts = Counter(one for one, _ in pairs)
    assert set(firsts.values()) == {2}
    for name in versions:
        records = read(tmp_path / name / RESULTS).records
        assert [record.case for record in records] == [case.id for case in CASES]
        for record in records:
            assert record.timing is not None
            assert record.timing.samples_ms == (1, 11, 2, 12, 3, 13, 4, 14)
            assert record.timing.processes == (2, 2, 2, 2)
            assert record.timing.process_medians_ms == (6, 7, 8, 9)


def test_a_version_that_cannot_run_the_suite_is_told(tmp_path: Path) -> None:
    fine = fake("this version", CASES, lambda folder, ids: [of(case, 1.0) for case in ids])
    words = "radialbench: small.yaml:3: unknown backend 'new'\n"
    bad = fake("v0.1 (0123abc)", CASES, lambda folder, ids: [], code=2, told=words)
    with pytest.raises(SuiteError, match=r"v0\.1 .* cannot run .*: small\.yaml:3: unknown backend"):
        measure_rounds(SUITE, CASES, {"before": bad, "now": fine}, tmp_path / "a", rounds=1)
    # A run that fails has exit code 1 as well, but leaves records.
    silent = fake("v0.1", CASES, lambda folder, ids: [], code=1)
    with pytest.raises(SuiteError, match="exits with 1 and prints nothing"):
        measure_rounds(SUITE, CASES, {"before": silent, "now": fine}, tmp_path / "b", rounds=1)
    broken = fake("v0.1", CASES, lambda folder, ids: [failed(case=case) for case in ids], code=1)
    measure_rounds(SUITE, CASES, {"before": broken, "now": fine}, tmp_path / "c", rounds=1)
    assert {one.status for one in read(tmp_path / "c" / "before" / RESULTS).records} == {"failed"}


def test_records_of_another_form_are_told(tmp_path: Path) -> None:
    def foreign(folder: Path, ids: Sequence[str]) -> list[Record]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULTS).write_text('{"case": "old"}\n', encoding="utf-8")
        return []

    with pytest.raises(SuiteError, match="differ too much to be compared"):
        measure_rounds(SUITE, CASES, {"now": fake("v0", CASES, foreign)}, tmp_path, rounds=1)


def test_ids_are_asked_for_pattern() -> None:
    short, long = (small.case(backends=["cpu"], block_m=size).id for size in (128, 16))
    assert short != long
    odd = replace(CASES[0], id=f"{CASES[0].id}@[x]*")
    for case in (*CASES, odd):
        pattern = rounds_of._pattern(case.id)
        assert ids_of(["-f", pattern], [*CASES, odd]) == [case.id]


def test_a_fault_in_one_process_is_a_fault() -> None:
    good = of("a", 1.0, 2.0)
    bad = failed(case="a", status=Status.CRASHED, reason="it died")
    found = pooled([good, bad, good])
    assert (found.status, found.timing) == (Status.CRASHED, None)
    assert found.reason == "it died (in 1 of 3 processes)"
    assert pooled([bad]) == bad


def test_processes_are_counts_of_the_samples() -> None:
    one = Measurement((1.0, 3.0, 2.0, 8.0, 9.0), 1, "warm", "clock", None)
    assert one.process_medians_ms == (3.0,)
    assert replace(one, processes=(3, 2)).process_medians_ms == (2.0, 8.5)
    for counts in ((3, 1), (5, 0), (6, -1)):
        with pytest.raises(RecordError, match=r"processes must be counts above 0 of 5 samples"):
            replace(one, processes=counts)


def test_pairs_stay_pairs_and_counters_are_pooled() -> None:
    def beside(count: int) -> Rounds:
        return Rounds("nvml", sm_mhz=tuple(1000.0 + n for n in range(count)))

    def one(samples: tuple[float, ...], ceiling: tuple[float, ...], joules: float) -> Record:
        timing = Measurement(samples, 2, "cold", "cuda_event", None, rounds=beside(len(samples)))
        return replace(
            RECORD,
            timing=timing,
            ceiling=replace(timing, samples_ms=ceiling, rounds=beside(len(ceiling))),
            telemetry=Telemetry(5, 1.0, joules, None, 1500.0, None, 60.0 + joules, ("power cap",)),
            permute_ms=joules,
        )

    found = pooled([one((1, 2, 3), (10, 20), 3.0), one((4, 5), (40, 50), 9.0)])
    assert found.timing is not None
    assert found.ceiling is not None
    assert found.telemetry is not None
    assert found.timing.samples_ms == (1, 2, 4, 5)
    assert found.ceiling.samples_ms == (10, 20, 40, 50)
    assert found.timing.processes == found.ceiling.processes == (2, 2)
    assert found.timing.warmups == 4
    assert found.timing.rounds is not None
    assert found.timing.rounds.sm_mhz == (1000, 1001, 1000, 1001)
    assert (found.telemetry.calls, found.telemetry.energy_j) == (10, 6.0)
    assert (found.telemetry.temperature_c, found.telemetry.power_w) == (69.0, None)
    assert found.permute_ms == 6.0
