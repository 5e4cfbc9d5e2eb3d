"""Whatever a case does, trying it gives a record: how it ended, why, and what is known of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from radialbench.kernels.arch import DeviceLostError
from radialbench.kernels.backends import BACKENDS, Run
from radialbench.kernels.backends.cpu import Cpu
from radialbench.kernels.reorder import reorder
from radialbench.maskgen.table import BlockTable
from radialbench.records.measurement import Memory
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import Record, Status
from radialbench.suites import attempt as module
from radialbench.suites.attempt import attempt
from radialbench.suites.plan import Case, Preparing, Sampling, Step, ended, plan
from radialbench.suites.read import load_suite
from radialbench.suites.resources import Tables
from tests.records.sample import failed
from tests.suites import small


def tried(case: Case) -> Record:
    return attempt(case, small.bench())


def tried_with(kind: str, monkeypatch: pytest.MonkeyPatch) -> Record:
    monkeypatch.setitem(BACKENDS, "cpu", f"tests.suites.small:{kind}")
    return tried(small.case())


def test_a_case_that_ends_well_has_every_part() -> None:
    case = small.case(masks=["sta"])
    found = tried(case)
    assert (found.status, found.reason) == (Status.OK, None)
    assert found.table is not None
    assert found.table.pairs > 0
    assert found.accuracy is not None
    assert found.accuracy.passed
    assert found.timing is not None
    assert found.timing.warmups == 1
    assert found.memory is not None
    assert found.plan_ms is not None
    assert found.permute_ms is not None
    assert found.permute_ms > 0


def test_a_case_tells_how_far_it_is() -> None:
    steps: list[Step] = []
    found = attempt(small.case(), small.bench(), on_step=steps.append)
    begins, samples = steps
    assert begins == Preparing(0)
    assert isinstance(samples, Sampling)
    untried = replace(found, status=Status.FAILED, reason="was not tried", timing=None)
    assert samples == Sampling((untried,), (True,))


def test_a_lost_device_is_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_initialized", torch.cuda.is_initialized)
        patch.setattr(torch.cuda, "synchronize", torch.cuda.synchronize)
        with pytest.raises(DeviceLostError, match="RuntimeError: CUDA error: device-side assert"):
            tried_with("DeviceAssert", monkeypatch)


def test_raster_order_costs_nothing() -> None:
    assert tried(small.case()).permute_ms == 0


@pytest.mark.parametrize(("right", "status"), [(True, Status.OK), (False, Status.INACCURATE)])
def test_a_call_in_raster_order_moves_nothing(
    right: bool, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InRasterOrder(Cpu):
        def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
            run = super().plan(problem, table, config)
            moves = reorder(table, problem.heads, problem.key_heads, "cpu")
            assert moves is not None
            there, back = moves.inputs, moves.output

            class Call:
                in_raster = True

                def __call__(self, *qkv: Any) -> tuple[torch.Tensor, torch.Tensor]:
                    out, lse = run(*there(*qkv))
                    return back(out) if right else out, back(lse[..., None])[..., 0]

            return Call()

    monkeypatch.setattr(module, "load_backend", lambda name, backends: InRasterOrder())
    found = tried(small.case(masks=["svg_temporal"]))
    assert (found.status, found.permute_ms) == (status, 0)


@pytest.mark.parametrize(("warmups", "calls"), [(0, 1), (1, 1), (3, 3)])
def test_the_checked_call_is_the_first_warmup(
    warmups: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Counting(small.Changed):
        def change(self, out: torch.Tensor, lse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            made.append(1)
            return out, lse

    monkeypatch.setattr(module, "load_backend", lambda name, backends: Counting())
    protocol = {"warmups": warmups, "max_seconds": 1e-6}
    found = tried(small.case(protocol=protocol))
    assert found.timing is not None
    assert found.timing.warmups == calls
    # The last one is checked again.
    assert len(made) == calls + len(found.timing.samples_ms) + 1


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("Raising", Status.FAILED, "RuntimeError: the kernel fell over"),
        ("RaisingOurs", Status.FAILED, "q, k, v are odd"),
        ("OutOfPythonMemory", Status.OOM, "MemoryError:"),
        ("Nan", Status.INACCURATE, "the result is nan or infinite where the definition is finite"),
        ("WrongShape", Status.FAILED, "the backend's out must be torch.float32 [1, 2, 30, 8], got"),
        ("NoPair", Status.FAILED, "the backend must return (out, lse), got Tensor"),
        ("WrongLater", Status.FAILED, "ValueError: only once"),
        ("InaccurateLater", Status.INACCURATE, "after the samples errors of"),
        ("Writing", Status.FAILED, "the backend writes into k, its inputs"),
        ("WritingLater", Status.FAILED, "the backend writes into v, its inputs"),
        ("WritingOnce", Status.FAILED, "q, the inputs, changed during the samples"),
        ("Unplanned", Status.UNSUPPORTED, "needs blocks of 17"),
        ("Broken", Status.FAILED, "ZeroDivisionError: division by zero"),
        ("Unsupported", Status.UNSUPPORTED, "wants a moon; wants a star"),
    ],
)
def test_a_backend_that_does_not_do_what_it_should(
    kind: str, status: Status, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tried_with(kind, monkeypatch)
    assert found.status == status
    assert found.reason is not None
    assert found.reason.startswith(reason)
    assert "\n" not in found.reason
    assert found.timing is None


def test_an_interrupt_is_not_a_failure_of_the_case(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        tried_with("Interrupted", monkeypatch)


def test_an_allocation_that_fails_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tried_with("OutOfMemory", monkeypatch)
    assert found.status == Status.OOM
    assert found.reason is not None
    assert "can't allocate memory" in found.reason


@pytest.mark.parametrize("kind", ["Wrong", "WrongLse", "Nan"])
def test_an_inaccurate_result_is_kept_with_its_errors_and_without_a_time(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tried_with(kind, monkeypatch)
    assert found.status == Status.INACCURATE
    assert found.accuracy is not None
    assert not found.accuracy.passed
    assert found.timing is None


def test_the_reason_of_an_inaccurate_result_has_its_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = tried_with("WrongLse", monkeypatch)
    assert found.reason is not None
    assert found.accuracy is not None
    accuracy = found.accuracy
    assert f"{accuracy.max_lse_error:.2e} in the lse" in found.reason
    assert f"tolerance {accuracy.tolerance:.2e}" in found.reason


def test_what_is_known_before_a_case_fails_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tried_with("Raising", monkeypatch)
    assert found.table is not None
    assert found.plan_ms is not None
    assert found.accuracy is None


def test_a_backend_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", "radialbench.no_such_module:Cpu")
    found = tried(small.case())
    assert found.status == Status.UNSUPPORTED
    assert found.reason is not None
    assert "No module named 'radialbench.no_such_module'" in found.reason


def test_a_suite_for_a_gpu_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    spec = small.suite(lambda document: document.update(device="cuda"))
    found = tried(plan(spec)[0])
    assert found.status == Status.UNSUPPORTED
    assert found.reason == "asks for device 'cuda', and PyTorch finds none on this machine"
    assert found.table is None


def test_a_mask_that_does_not_fit_its_grid(tmp_path: Path) -> None:
    (tmp_path / "others.yaml").write_text("name: others\nmask: dt > 0\n", encoding="utf-8")
    grid = {"frames": 1, "height": 3, "width": 5}

    def change(document: dict[str, Any]) -> None:
        document["cases"][0].update(masks=["others.yaml"], grids=[grid])

    (case,) = plan(load_suite(str(small.written(tmp_path, small.text_of(change)))))
    found = tried(case)
    assert found.status == Status.FAILED
    assert found.reason is not None
    assert "15 of 15 tokens would attend nothing" in found.reason
    assert not found.reason.startswith("SpecError")


LONG = {"frames": 40, "height": 6, "width": 7}


def test_a_case_that_cannot_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_bytes", lambda device: 3 << 20)
    found = tried(small.case(heads=400, head_dim=512))
    assert found.status == Status.OOM
    assert found.reason is not None
    assert found.reason.startswith("not tried: needs at least 0.1 GiB, 0.0 GiB are free")


def test_memory_that_is_not_known_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_bytes", lambda device: None)
    assert tried(small.case()).status == Status.OK


def test_compiling_alone_is_timed_and_its_memory_measured() -> None:
    (case,) = small.cases(masks=["radial"], grids=[LONG], measure="compile", backends=None)
    found = tried(case)
    assert found.status == Status.OK
    assert found.timing is not None
    assert found.table is not None
    assert found.table.compile_ms > 0
    assert isinstance(found.memory, Memory)
    assert found.accuracy is None


def test_a_very_long_reason_is_cut() -> None:
    assert len(ended(failed(), Status.FAILED, "word " * 1000).reason or "") == 1000


def test_no_reason_at_all_is_still_a_reason() -> None:
    assert ended(failed(), Status.FAILED, "").reason == "failed"


def test_tables_are_compiled_once_for_all_that_share_them() -> None:
    tables = Tables()
    first, second = small.cases(masks=["dense"], backends=["cpu", "sdpa"], grids=[LONG])
    one = tables.table(first.mask, first.grid, first.config)
    assert tables.table(second.mask, second.grid, second.config) == one
    assert tables.table(second.mask, second.grid, second.config)[0] is one[0]
