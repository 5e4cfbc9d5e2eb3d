"""Cases sampled in turn: one that fails does not take the others with it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from radialbench import TokenGrid, compile_mask, parse_mask
from radialbench.kernels.backends import BACKENDS
from radialbench.kernels.measure.accuracy import make_inputs
from radialbench.records.result import Status
from radialbench.suites import resources
from radialbench.suites.attempt import attempt_batch, attempt_together
from radialbench.suites.plan import Case, Preparing, Sampling, Step, batches, plan
from tests.kernels.tables import problem_of
from tests.suites import small

PROTOCOL = {"interleave": True, "max_samples": 4, "max_seconds": 600}
GRIDS = [{"frames": 2, "height": 3, "width": 5}]


def cases(**fields: Any) -> list[Case]:
    given = {"grids": GRIDS, "backends": ["cpu", "reference"], "protocol": PROTOCOL}
    return list(plan(small.matrix(**(given | fields))))


def test_cases_of_one_shape_are_one_batch() -> None:
    assert [len(batch) for batch in batches(cases())] == [4]
    two = cases(grids=[{"frames": [2, 3], "height": 3, "width": 5}])
    assert [len(batch) for batch in batches(two)] == [4, 4]


def test_without_interleave_each_case_is_alone() -> None:
    alone = cases(protocol={"max_seconds": 1})
    assert [len(batch) for batch in batches(alone)] == [1, 1, 1, 1]


def test_compiling_is_never_interleaved() -> None:
    compiling = plan(
        small.suite(
            lambda document: (
                document["cases"][0].update(measure="compile", protocol=PROTOCOL)
                or document["cases"][0].pop("backends")
            )
        )
    )
    assert {len(batch) for batch in batches(compiling)} == {1}


def test_every_case_has_as_many_samples_and_its_own_accuracy() -> None:
    seen: list[Step] = []
    batch = cases()
    records = attempt_together(batch, small.bench(), seen.append)
    *begins, samples = seen
    assert begins == [Preparing(place) for place in range(len(batch))]
    assert isinstance(samples, Sampling)
    assert samples.sampled == (True,) * len(batch)
    assert [one.accuracy for one in samples.records] == [one.accuracy for one in records]
    for found in records:
        assert found.status == Status.OK
        assert found.accuracy is not None
        assert found.timing is not None
        assert len(found.timing.samples_ms) == 4
        assert found.timing.warmups == 1
        assert (found.isolated, found.ceiling, found.telemetry) == (None, None, None)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("WrongLater", Status.FAILED),
        ("Nan", Status.INACCURATE),
        ("Unplanned", Status.UNSUPPORTED),
        ("Raising", Status.FAILED),
    ],
)
def test_one_that_fails_leaves_the_others_their_samples(
    kind: str, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", f"tests.suites.small:{kind}")
    batch = cases(masks=["dense"])
    wrong, right = attempt_together(batch, small.bench(), lambda step: None)
    assert (wrong.status, wrong.timing) == (status, None)
    assert wrong.reason
    assert right.status == Status.OK
    assert right.timing is not None
    assert len(right.timing.samples_ms) == 4


@pytest.mark.parametrize("masks", [["dense"], ["dense", "sta"]])
@pytest.mark.parametrize(
    ("kind", "name"), [("Writing", "k"), ("WritingLater", "v"), ("WritingOnce", "q")]
)
def test_who_writes_into_the_inputs_is_named_and_the_others_are_right(
    kind: str, name: str, masks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", f"tests.suites.small:{kind}")
    bench, batch = small.bench(), cases(masks=masks)
    found = attempt_together(batch, bench, lambda step: None)
    writers = [one for one in found if one.backend == "cpu"]
    honest = [one for one in found if one.backend == "reference"]
    if kind == "WritingOnce":
        reason = "q, the inputs, changed during the samples"
        assert {(one.status, one.reason) for one in found} == {(Status.FAILED, reason)}
    else:
        reason = f"the backend writes into {name}, its inputs"
        assert {(one.status, one.reason) for one in writers} == {(Status.FAILED, reason)}
        assert {one.status for one in honest} == {Status.OK}
    # What comes later on the same tensors is right as well.
    (later,) = attempt_together(cases(masks=["dense"], backends=["reference"]), bench, print)
    assert later.status == Status.OK


def test_a_tensor_that_a_backend_turns_around_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", "tests.suites.small:Reshaping")
    found = attempt_together(cases(masks=["dense"]), small.bench(), lambda step: None)
    assert [one.status for one in found] == [Status.OK, Status.OK]


def test_inputs_and_what_is_expected_of_them_are_made_once_a_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    def counted(problem: Any, **more: Any) -> Any:
        made.append(problem.seq_len)
        return make_inputs(problem, **more)

    monkeypatch.setattr(resources, "make_inputs", counted)
    two = cases(grids=[{"frames": [2, 3], "height": 3, "width": 5}], masks=["dense", "sta"])
    bench = small.bench()
    for batch in batches(two):
        attempt_together(batch, bench, lambda step: None)
    assert made == [30, 45]


def test_compiling_needs_no_gpu_whatever_the_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def change(document: dict[str, Any]) -> None:
        gpu = {"ceiling": True, "isolated_samples": 2, "telemetry_seconds": 1}
        document.update(device="cuda", protocol=PROTOCOL | gpu)
        document["cases"][0].update(measure="compile")
        document["cases"][0].pop("backends")

    for batch in batches(plan(small.suite(change))):
        (found,) = attempt_batch(batch, small.bench(), lambda step: None)
        assert found.status == Status.OK
        assert found.timing is not None
        assert found.timing.timer == "perf_counter"


def test_inputs_of_some_queries_are_restored_in_any_order() -> None:
    tiled = parse_mask({"name": "tiled", "mask": "dt <= 2", "order": {"tiles": [2, 2, 2]}})
    table = compile_mask(tiled, TokenGrid(6, 3, 5, query_frames=(2, 3)), 16, 16)
    bench, case = small.bench(), replace(small.case(), problem=problem_of(table))
    (q, k, v), _ = bench.inputs(case, table, "cpu")
    assert (q.shape[2], k.shape[2]) == (30, 90)
    kept = q.clone(), k.clone(), v.clone()
    assert bench.restore_inputs(case, "cpu") == []
    q.zero_()
    k.zero_()
    assert bench.restore_inputs(case, "cpu") == ["q", "k"]
    assert all(map(torch.equal, (q, k, v), kept))
