"""Suites that measure what masks keep, and with the tensors of a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from radialbench.errors import SuiteError
from radialbench.fidelity.files import InputsHeader, open_inputs, save_inputs
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.measure import measure
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.codec import from_json, to_json
from radialbench.records.result import Record, Status
from radialbench.suites.attempt import attempt
from radialbench.suites.plan import Case, plan
from radialbench.suites.read import load_suite
from tests.suites import small

GRID = TokenGrid(4, 6, 8)


def save(path: Path, layer: int = 0, grid: TokenGrid = GRID, **header: Any) -> AttentionInputs:
    generator = torch.Generator().manual_seed(layer)
    q, k, v = torch.randn(3, 1, 2, grid.seq_len, 16, generator=generator)
    facts = InputsHeader(grid, "a model", "captured", (0, 1), layer, **header)
    inputs = AttentionInputs(3 * q, k, v, facts)
    save_inputs(inputs, path)
    return inputs


def suite(tmp_path: Path, matrix: str, *, head_dim: int = 16) -> tuple[Case, ...]:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "device: cpu\nprotocol: {min_samples: 1, max_samples: 1, max_seconds: 0.1}\ncases:\n"
        "  - masks: [radial, dense]\n    grids: [{frames: 4, height: 6, width: 8}]\n"
        f"    heads: 2\n    head_dim: {head_dim}\n    dtype: float32\n"
        f"    block_m: 16\n    block_n: 16\n    backends: [cpu]\n{matrix}"
    )
    return plan(load_suite(str(path)))


def tried(case: Case, bench: Any = None) -> Record:
    record = attempt(case, bench or small.bench())
    assert record.status == Status.OK, record.reason
    assert from_json(to_json(record).encode(), Record) == record
    return record


def test_records_say_what_a_mask_keeps(tmp_path: Path) -> None:
    every = [save(tmp_path / f"{layer}.safetensors", layer) for layer in (0, 3)]
    radial, dense = suite(tmp_path, "    fidelity: {inputs: ., rows: 64}\n")
    assert radial.id == "radial/4x6x8/h2d16f32/cpu@16x16"
    bench = small.bench()
    found = tried(radial, bench).fidelity
    assert found is not None
    assert [(one.layer, one.head) for one in found.heads] == [(0, 0), (0, 1), (3, 0), (3, 1)]
    table, _ = bench.tables.table(radial.mask, GRID, radial.config)
    for inputs, heads in zip(every, (found.heads[:2], found.heads[2:]), strict=True):
        (wanted,) = measure(inputs, [table], rows=64)
        assert [one["mask"].kept for one in wanted] == [one.kept for one in heads]
    kept = tried(dense, bench).fidelity
    assert kept is not None
    assert kept.mass_kept.value == pytest.approx(1)
    assert kept.place is None
    assert kept.inputs.kind == "captured"


def test_inputs_are_generated_if_none_are_given(tmp_path: Path) -> None:
    cases = suite(tmp_path, "    fidelity: {rows: 64}\n", head_dim=32)
    record = tried(cases[0])
    assert record.inputs is None
    assert record.fidelity is not None
    assert record.fidelity.inputs.kind == "generated"
    # A head that is alone would be of one kind.
    assert len(record.fidelity.heads) == 4
    assert tried(cases[0]).fidelity == record.fidelity


def test_what_a_mask_keeps_is_measured_once_for_all_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "0.safetensors")
    (case, *_) = suite(tmp_path, "    fidelity: {inputs: .}\n")
    bench = small.bench()
    first = tried(case, bench)
    monkeypatch.setattr("radialbench.suites.resources.measure_tables", None)
    assert tried(replace(case, backend="reference"), bench).fidelity is first.fidelity


def test_tensors_of_a_model_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = save(tmp_path / "model.safetensors", sm_scale=0.5)
    radial, _ = suite(tmp_path, "    inputs: model.safetensors\n    fidelity: {}\n")
    assert radial.id == "radial/4x6x8/h2d16f32/on-a-model/cpu@16x16"
    assert radial.problem.sm_scale == 0.5
    bench = small.bench()
    record = tried(radial, bench)
    assert record.inputs == open_inputs(tmp_path / "model.safetensors")[0].identity
    assert record.group == "4x6x8/h2d16f32/on-a-model"
    assert record.sweep == "Fx6x8 h2d16f32 on-a-model"
    assert record.fidelity is not None and record.fidelity.inputs == record.inputs
    table, _ = bench.tables.table(radial.mask, GRID, radial.config)
    (q, _, _), _ = bench.inputs(radial, table, "cpu")
    assert torch.equal(q, inputs.q)
    q.zero_()
    assert bench.restore_inputs(radial, "cpu") == ["q"]
    assert torch.equal(q, inputs.q)
    # The same shape with other numbers is made anew.
    (q, _, _), _ = bench.inputs(replace(radial, inputs=None), table, "cpu")
    assert not torch.equal(q, inputs.q)


def test_blocks_chosen_at_run_time_are_judged_by_what_they_choose(tmp_path: Path) -> None:
    save(tmp_path / "0.safetensors")
    (case, _) = suite(tmp_path, "    fidelity: {inputs: .}\n")
    bench = small.bench()
    given, chosen = (tried(replace(case, backend=name), bench) for name in ("cpu", "topk_cpu"))
    assert given.fidelity is not None and chosen.fidelity is not None
    assert given.fidelity.heads != chosen.fidelity.heads
    # It chooses whole blocks, as many as the mask visits.
    pairs = zip(chosen.fidelity.heads, given.fidelity.heads, strict=True)
    assert all(a.random == b.random for a, b in pairs)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ("    inputs: none.safetensors\n", "none.safetensors: no such file or folder"),
        (
            "    inputs: other.safetensors\n",
            "the inputs are of the grid 3x6x8, and the cases of 4x6",
        ),
        ("    fidelity: {inputs: other.safetensors}\n", "the inputs are of the grid 3x6x8"),
        ("    inputs: .\n    batch: 2\n", "has batch 1, and the cases 2; write batch: 1"),
        ("    inputs: some.safetensors\n", "some queries only, which cannot be timed"),
        ("    fidelity: {inputs: ., rows: 0}\n", "rows"),
        ("    fidelity: {inputs: ., bound: 2}\n", "bound"),
        ("    fidelity: yes\n", "fidelity"),
        ("    fidelity: {}\n", "with a head_dim of at least 32; give inputs"),
    ],
)
def test_what_does_not_fit_is_named_in_the_suite(tmp_path: Path, matrix: str, said: str) -> None:
    save(tmp_path / "0.safetensors")
    save(tmp_path / "other.safetensors", grid=replace(GRID, frames=3))
    inputs = save(tmp_path / "zero.safetensors")
    some = replace(inputs, q=inputs.q[:, :, :2], rows=torch.tensor([0, 4]))
    save_inputs(some, tmp_path / "some.safetensors")
    with pytest.raises(SuiteError, match=said) as error:
        suite(tmp_path, matrix)
    assert "suite.yaml:" in str(error.value)
