"""Suites time attention, its gradients or both, and check gradients against the definition."""

import pytest
import torch
from torch import Tensor

from radialbench.errors import SuiteError
from radialbench.kernels.autograd import differentiable
from radialbench.kernels.backends import BACKENDS, Run
from radialbench.kernels.backends.cpu import Cpu
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.result import Record, Status
from radialbench.reports.summary import summarize
from radialbench.suites.attempt import attempt
from radialbench.suites.offline import kernel_variants
from tests.suites import small


def tried(**fields: object) -> Record:
    return attempt(small.case(**fields), small.bench())


@pytest.mark.parametrize("backend", ["cpu", "reference", "sdpa", "topk_cpu", "triton"])
@pytest.mark.parametrize(("direction", "share"), [("backward", 2.5), ("both", 3.5)])
def test_gradients_are_timed_and_checked(backend: str, direction: str, share: float) -> None:
    forward = tried(backends=[backend])
    found = tried(backends=[backend], direction=direction)
    assert (found.status, found.reason) == (Status.OK, None)
    assert found.problem.direction == direction
    assert f"/h2d8f32/{direction}/" in found.case
    assert found.accuracy is not None
    assert found.accuracy.reference.startswith("float64 gradients of out and lse as computed; d")
    assert 0 < found.accuracy.max_abs_error <= found.accuracy.tolerance < 1e-4
    assert found.table is not None and forward.table is not None
    assert found.table.flops == share * forward.table.flops
    assert found.table.executed_flops == share * forward.table.executed_flops


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_with_grouped_heads_another_order_and_16_bits(dtype: str) -> None:
    more = {"masks": ["sta"], "heads": 4, "kv_heads": 2, "dtype": dtype, "direction": "both"}
    found = tried(**more)
    assert (found.status, found.reason) == (Status.OK, None)
    assert found.permute_ms is not None and found.permute_ms > 0


class WrongGradients(Cpu):
    """Gives a gradient of k that is a thousandth too large."""

    def plan(self, problem: Problem, table: BlockTable, config: KernelConfig) -> Run:
        run = super().plan(problem, table, config)

        def backward(
            q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, dout: Tensor, dlse: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            with torch.enable_grad():
                leaves = [x.detach().requires_grad_() for x in (q, k, v)]
                dq, dk, dv = torch.autograd.grad(run(*leaves)[0], leaves, dout)
            return dq, 1.001 * dk, dv

        return differentiable(run, backward)


def test_wrong_gradients_are_inaccurate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "cpu", "tests.suites.test_direction:WrongGradients")
    assert tried().status is Status.OK
    found = tried(direction="backward")
    assert found.status is Status.INACCURATE
    assert found.reason is not None
    assert found.reason.endswith("in float64 gradients of out and lse as computed; dk is the worst")


def test_a_direction_is_compared_with_dense_of_the_same() -> None:
    records = [
        attempt(case, small.bench())
        for direction in ("forward", "backward")
        for case in small.cases(grids=[GRID], direction=direction)
    ]
    rows = summarize(records).rows
    assert len({row.record.case for row in rows}) == 4
    for row in rows:
        assert row.dense is not None
        assert row.dense.problem.direction == row.record.problem.direction


GRID = {"frames": 2, "height": 3, "width": 5}


def test_what_has_no_direction() -> None:
    with pytest.raises(SuiteError, match="compile has no direction: a mask's table serves both"):
        small.matrix(measure="compile", backends=None, direction="both")
    found = tried(backends=["fa3"], direction="backward")
    assert found.status is Status.UNSUPPORTED
    assert "computes the forward pass only, got 'backward'" in (found.reason or "")


def test_offline_compiles_the_kernels_of_gradients() -> None:
    large = {"block_m": 128, "block_n": 128, "head_dim": 128, "dtype": "bfloat16"}
    names = {
        direction: [
            (variant.kernel, variant.part)
            for variant in kernel_variants(
                small.cases(backends=["hopper"], direction=direction, **large), [90]
            )
        ]
        for direction in ("forward", "both")
    }
    assert set(names["forward"]) == {("hopper", "out")}
    parts = {("triton", part) for part in ("rows", "dq", "dkdv")}
    assert set(names["both"]) == {("hopper", "out"), ("hopper", "grads"), *parts}
