"""Gradients take the steps that were tuned for them, or are given, and their results stay."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels import backward, op, tuned
from radialbench.kernels.arch import Target
from radialbench.kernels.backends import plan_table
from radialbench.kernels.backends.triton import Triton
from radialbench.kernels.op import block_sparse_attention, config_for
from radialbench.kernels.select import choose_config, choose_gradients, default_gradients
from radialbench.kernels.triton.gradients import gradient_kernel, prepare_gradients
from radialbench.kernels.triton.launch import layout_of
from radialbench.kernels.tuned import device_name, find_config
from radialbench.maskgen.table import BlockTable
from radialbench.records.problem import GradientSteps, KernelConfig, Problem, Steps
from radialbench.records.tuning import TuningRecord
from tests.kernels.configs import fresh, written

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RADIAL = load_mask("radial")
GRID = TokenGrid(3, 2, 6)
TABLE = compile_mask(RADIAL, GRID, 32, 32)
SHAPE = {
    "mask_fingerprint": RADIAL.fingerprint,
    "frames": 3,
    "tokens_per_frame": 12,
    "seq_len": 36,
    "heads": 2,
    "head_dim": 32,
    "dtype": "float16",
}
BEST = GradientSteps(Steps(16, 32, 1, 1), Steps(32, 16, 2, 1))
CONFIG = KernelConfig(32, 32, gradients=BEST)
launched: list[GradientSteps | None] = []


@pytest.fixture(autouse=True)
def spied(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note the steps of gradients as they are prepared, and look every one up anew."""
    real = prepare_gradients

    def prepare(*given: Any, steps: GradientSteps | None, **options: Any) -> Any:
        launched.append(steps)
        return real(*given, steps=steps, **options)

    monkeypatch.setattr(backward, "prepare_gradients", prepare)
    launched.clear()
    forget()
    yield
    forget()


def forget() -> None:
    choose_config.cache_clear()
    choose_gradients.cache_clear()
    backward._prepared.cache_clear()
    op.forget_plans()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the user's own records."""
    monkeypatch.setenv(tuned.VARIABLE, str(tmp_path))
    return tmp_path


def record(**changes: Any) -> TuningRecord:
    given = {"direction": "backward", "config": CONFIG, "edges": ()}
    return fresh("triton", DEVICE, **SHAPE | given | changes)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn((1, 2, 36, 32), generator=generator).to(DEVICE, torch.float16).requires_grad_()
        for _ in range(3)
    )
    return q, k, v


def gradients(table: BlockTable = TABLE, **options: Any) -> tuple[Tensor, ...]:
    qkv = inputs()
    out = block_sparse_attention(*qkv, table, **{"backend": "triton"} | options)
    assert isinstance(out, Tensor)
    return torch.autograd.grad(out.float().square().sum(), qkv)


DEFAULT = default_gradients(torch.float16, 32, (32, 32), Target(DEVICE, None)).gradients


def test_tuned_steps_run_and_change_no_gradient(folder: Path) -> None:
    wanted = gradients()
    forget()
    written(folder, record())
    for grad, want in zip(gradients(), wanted, strict=True):
        torch.testing.assert_close(grad, want, rtol=0, atol=2e-3)
    assert launched == [DEFAULT, BEST]
    found = config_for(inputs()[0], TABLE, backend="triton", direction="backward")
    assert (found.config, found.source, found.record) == (CONFIG, "tuned", record())
    # The forward pass has records of its own.
    assert config_for(inputs()[0], TABLE, backend="triton").source == "default"


def test_steps_are_looked_up_where_only_warps_are_given(folder: Path) -> None:
    written(folder, record(frames=6, seq_len=72))
    gradients(config=KernelConfig(32, 32, num_warps=2))
    given = GradientSteps(Steps(32, 32, 1, 1), Steps(16, 16, 1, 1))
    gradients(config=KernelConfig(32, 32, gradients=given))
    assert launched == [BEST, given]


def test_other_blocks_than_the_tables_and_stale_records_are_skipped(folder: Path) -> None:
    near = replace(CONFIG, gradients=replace(BEST, dq=Steps(32, 16, 1, 1)))
    other = KernelConfig(64, 32, gradients=BEST)
    written(folder, record(config=other), record(config=near, frames=6, seq_len=72))
    found = config_for(inputs()[0], TABLE, backend="triton", direction="backward")
    assert (found.config, found.source) == (near, "transferred")
    written(folder, record(config=other), record(kernel="old", frames=6, seq_len=72))
    forget()
    found = config_for(inputs()[0], TABLE, backend="triton", direction="backward")
    assert found.config.gradients == DEFAULT
    assert "cannot run here: its blocks are 64×32, those of the table 32×32" in found.reason


def test_compiled_graphs_take_them_too(folder: Path) -> None:
    written(folder, record())
    table = op.device_table(TABLE, DEVICE)

    def loss(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = block_sparse_attention(q, k, v, table, backend="triton")
        assert isinstance(out, Tensor)
        return out.float().square().sum()

    qkv = inputs()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.autograd.grad(compiled(*qkv), qkv)
    assert launched == [BEST]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (Steps(64, 16, 4, 2), "steps of dq are powers of two from 16 to the block's 32, got 64"),
        (Steps(32, 24, 4, 2), "steps of dq are powers of two from 16 to the block's 32, got 24"),
        (Steps(32, 16, 3, 2), "warps of dq are 1, 2, 4, 8 or 16, got 3"),
    ],
)
def test_steps_that_cannot_be_are_refused_at_the_call(steps: Steps, reason: str) -> None:
    config = KernelConfig(32, 32, gradients=GradientSteps(steps, BEST.dkdv))
    with pytest.raises(BackendError, match=reason):
        gradients(config=config)


def test_suites_run_what_their_configuration_says(folder: Path) -> None:
    """A record does not change a case whose configuration leaves the steps open."""
    written(folder, record())
    problem = Problem(RADIAL.fingerprint, GRID, 1, 2, 32, "float16", direction="backward")
    for config in (KernelConfig(32, 32), CONFIG):
        run = plan_table(Triton(), problem, TABLE, config)
        qkv = inputs()
        torch.autograd.grad(run(*qkv)[0].float().sum(), qkv)
    assert launched == [DEFAULT, BEST]


def test_a_suite_finds_both_directions(folder: Path) -> None:
    out = KernelConfig(32, 32, num_warps=2, num_stages=1)
    here = device_name(DEVICE)
    both = Problem(RADIAL.fingerprint, GRID, 1, 2, 32, "float16", direction="both")
    written(folder, record(), record(direction="forward", config=out))
    found = find_config(both, "triton", here)
    assert found.config == replace(out, gradients=BEST)
    assert found.source == "tuned"
    assert "; gradients: tuned for this problem" in found.reason
    assert find_config(replace(both, direction="backward"), "triton", here).config == CONFIG
    assert find_config(replace(both, direction="forward"), "triton", here).config == out
    # Gradients run in the blocks of the forward pass.
    written(folder, record(), record(direction="forward", config=KernelConfig(64, 32)))
    assert find_config(both, "triton", here).config == KernelConfig(64, 32)
    reason = "hopper has nothing to tune backward: its blocks and stages are fixed there"
    assert find_config(replace(both, direction="backward"), "hopper", here).reason == reason


def test_which_kernel_computes_gradients() -> None:
    wide = torch.empty(1, 2, 256, 64, dtype=torch.bfloat16, device="meta")
    table = op.device_table(compile_mask(RADIAL, TokenGrid(4, 8, 8)), "cpu").key

    def chosen(backend: str | None, *, fixed: bool = False, arch: int = 90) -> str:
        return gradient_kernel(
            *(layout_of(wide),) * 4,
            backend=backend,
            fixed_order=fixed,
            table=table,
            target=Target("cuda", arch),
        )

    assert [chosen(None), chosen("hopper"), chosen("triton")] == ["hopper", "hopper", "triton"]
    assert chosen("hopper", fixed=True) == chosen(None, arch=80) == "triton"
    with pytest.raises(BackendError, match="the direction is forward or backward, got 'both'"):
        config_for(inputs()[0], TABLE, direction="both")
