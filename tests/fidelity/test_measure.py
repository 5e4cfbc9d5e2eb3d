"""What a mask keeps: by the definition on small grids, by kernels, and on samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench.errors import InputsError
from radialbench.fidelity.files import InputsHeader
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.fidelity.kernel import kernel_rows, plan_attention
from radialbench.fidelity.measure import Found, measure
from radialbench.maskgen.compiler import compile_heads, compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable, tables_by_head
from radialbench.maskgen.library import load_mask, parse_head_plan
from radialbench.maskgen.order import Coordinates, TokenOrder
from radialbench.maskgen.table import BlockTable

GRID = TokenGrid(5, 6, 7, text_tokens=9, text_valid=6)
MASKS = ("radial", "sta", "svg_temporal", "dense", "neighborhood")


def made(
    grid: TokenGrid = GRID, heads: int = 2, kv_heads: int = 1, batch: int = 2
) -> AttentionInputs:
    generator = torch.Generator().manual_seed(0)
    q = 2 * torch.randn(batch, heads, grid.q_len, 8, generator=generator)
    k, v = torch.randn(2, batch, kv_heads, grid.seq_len, 8, generator=generator)
    header = InputsHeader(grid, "noise", "generated", tuple(range(heads)), layer=3)
    return AttentionInputs(q, k, v, header)


def brute(inputs: AttentionInputs, sequence: int, head: int, keeps: Tensor) -> tuple[Tensor, ...]:
    """Return mass, out and dense out of all real queries; keeps is [q_len, seq_len] in raster."""
    grid = inputs.grid_of(sequence)
    q = inputs.q[sequence, head].double()
    shared = inputs.q.shape[1] // inputs.k.shape[1]
    k, v = (x[sequence, head // shared].double() for x in (inputs.k, inputs.v))
    real = torch.from_numpy(~Coordinates(grid, TokenOrder()).pad)
    p = (q @ k.T * inputs.scale).masked_fill(~real, -torch.inf).softmax(dim=1)
    kept = p * keeps
    mass = kept.sum(dim=1)
    own = real[grid.query_start :][: grid.q_len]
    return mass[own], (kept @ v / mass[:, None])[own], (p @ v)[own]


def raster(table: BlockTable) -> Tensor:
    """Return the dense mask of a table, [q_len, seq_len] in raster order."""
    keeps = np.zeros((table.q_len, table.k_len), np.bool_)
    source = table.order.source_index(table.grid)
    queries = source[table.q_start :][: table.q_len] - table.grid.query_start
    keeps[np.ix_(queries, source)] = table.to_dense()
    return torch.from_numpy(keeps)


def tables(inputs: AttentionInputs, block_m: int = 16, block_n: int = 24) -> list[BlockTable]:
    return [compile_mask(load_mask(name), inputs.grid, block_m, block_n) for name in MASKS]


def assert_right(inputs: AttentionInputs, made: list[AnyTable], found: list[list[Found]]) -> None:
    heads = inputs.q.shape[1]
    for table, of_mask in zip(made, found, strict=True):
        assert len(of_mask) == inputs.q.shape[0] * heads
        for number, one in enumerate(of_mask):
            sequence, head = divmod(number, heads)
            own = tables_by_head(table, heads)[head]
            mass, out, dense = brute(inputs, sequence, head, raster(own))
            assert len(one["mask"].mass) == len(mass)
            assert one["mask"].kept.mass == pytest.approx(float(mass.mean()), abs=1e-12)
            error = float((out - dense).norm() / dense.norm())
            assert one["mask"].kept.error == pytest.approx(error, abs=1e-9)
            cosine = float((out * dense).sum() / out.norm() / dense.norm())
            assert one["mask"].cosine == pytest.approx(cosine, abs=1e-9)
            worst = float(((out - dense).norm(dim=1) / dense.norm(dim=1)).max())
            assert one["mask"].worst_error == pytest.approx(worst, abs=1e-9)
            assert one["mask"].below(0.7) == float((mass < 0.7).double().mean())


def test_all_rows_are_those_of_the_definition() -> None:
    inputs = made()
    every = tables(inputs)
    assert_right(inputs, [*every], measure(inputs, every, rows=None))


def test_texts_of_several_lengths_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Chunks of one query block, and of several.
    for chunk in (1, 40 * 8 * GRID.seq_len):
        monkeypatch.setattr("radialbench.fidelity.measure.CHUNK_BYTES", chunk)
        inputs = made()
        inputs = replace(inputs, header=replace(inputs.header, text_lengths=(6, 6)))
        every = tables(inputs)
        assert_right(inputs, [*every], measure(inputs, every, rows=None))
    shorter = replace(inputs, header=replace(inputs.header, text_lengths=(6, 2)))
    found = measure(shorter, every, rows=None)[MASKS.index("dense")]
    # Padding is neither a query nor a key, and nothing of the rest is lost.
    assert [len(one["mask"].mass) for one in found] == [216, 216, 212, 212]
    assert found[3]["mask"].kept.mass == pytest.approx(1, abs=1e-12)


def test_queries_of_a_cache() -> None:
    grid = TokenGrid(6, 4, 4, query_frames=(4, 5))
    inputs = made(grid)
    every: list[AnyTable] = [compile_mask(load_mask("causal_chunks"), grid, 16, 16)]
    assert_right(inputs, every, measure(inputs, every, rows=None))


def test_heads_of_a_plan_have_masks_of_their_own() -> None:
    inputs = made(heads=4, kv_heads=4)
    plan = parse_head_plan(
        {"name": "plan", "heads": {"0-1": "svg_spatial", "2": "sta", "3": "dense"}}
    )
    table = compile_heads(plan, GRID, 16, 16)
    found = measure(inputs, [table, compile_mask(load_mask("radial"), GRID, 16, 16)], rows=None)
    assert_right(inputs, [table], found[:1])


def test_yardsticks_have_as_many_blocks_and_stand_in_order() -> None:
    inputs = made(TokenGrid(6, 8, 8))
    every = tables(inputs, 16, 16)
    found = measure(inputs, every, rows=None)
    for name, table, of_mask in zip(MASKS, every, found, strict=True):
        for one in of_mask:
            assert one["best"].kept.mass >= one["random"].kept.mass - 1e-12
            assert one["best"].kept.mass >= one["window"].kept.mass - 1e-12
            # No choice of as many whole blocks keeps more than the best: nor does the mask.
            assert one["best"].kept.mass >= one["mask"].kept.mass - 1e-12
        if name == "dense":
            assert one["random"].kept.mass == pytest.approx(1, abs=1e-12)
            assert one["window"].kept.error == pytest.approx(0, abs=1e-6)
        else:
            share = np.mean([one["random"].kept.mass for one in of_mask])
            assert share == pytest.approx(table.block_density, abs=0.1)


def test_a_sample_is_of_some_blocks_and_near_the_whole() -> None:
    inputs = made(TokenGrid(8, 16, 16), heads=1, batch=1)
    every = [compile_mask(load_mask("radial"), inputs.grid, 64, 64)]
    (whole,), (part,) = (measure(inputs, every, rows=rows)[0] for rows in (None, 256))
    assert len(whole["mask"].mass) == 2048
    assert len(part["mask"].mass) == 256
    assert part["mask"].kept.mass == pytest.approx(whole["mask"].kept.mass, abs=0.02)
    # Rows that choose their own best blocks do so too well.
    assert part["best"].kept.mass >= whole["best"].kept.mass


def test_only_the_rows_that_are_there_are_looked_at() -> None:
    inputs = made(batch=1)
    rows = torch.tensor([0, 3, 50, 51, 52, 200, 213])
    some = replace(inputs, q=inputs.q[:, :, rows], rows=rows)
    for table in tables(inputs):
        (found,) = measure(some, [table], rows=None)
        mass, _, _ = brute(inputs, 0, 1, raster(table))
        wanted = float(mass[rows].mean())
        assert found[1]["mask"].kept.mass == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_backend_measures_all_rows(backend: str) -> None:
    inputs = made()
    every = tables(inputs, 16, 32)
    for table, (rows, out) in zip(every, kernel_rows(inputs, every, backend), strict=True):
        for number, one in enumerate(rows):
            sequence, head = divmod(number, 2)
            mass, sparse, dense = brute(inputs, sequence, head, raster(table))
            assert torch.allclose(one.mass, mass, atol=1e-5)
            error = float((sparse - dense).norm() / dense.norm())
            assert one.kept.error == pytest.approx(error, abs=1e-5)
        (found,) = measure(inputs, [table], rows=None, outputs=[out])
        assert max(one["kernel"].kept.error for one in found) < 1e-5
        wrong = measure(inputs, [table], rows=None, outputs=[out * 1.01])[0]
        assert wrong[0]["kernel"].kept.error == pytest.approx(0.01, rel=1e-3)


def test_a_backend_takes_all_queries_only() -> None:
    inputs = made(batch=1)
    rows = torch.tensor([0, 3])
    some = replace(inputs, q=inputs.q[:, :, rows], rows=rows)
    with pytest.raises(InputsError, match="some queries only: measure them by the definition"):
        next(kernel_rows(some, tables(inputs), "cpu"))
    texts = replace(inputs, header=replace(inputs.header, text_lengths=(2,)))
    with pytest.raises(InputsError, match="texts of several lengths"):
        next(kernel_rows(texts, tables(inputs), "cpu"))


def test_outputs_come_back_in_raster_order() -> None:
    inputs = made(batch=1)
    table = compile_mask(load_mask("sta"), GRID, 16, 16)
    out, lse = plan_attention(inputs, table, "cpu")()
    _, wanted, _ = brute(inputs, 0, 0, raster(table))
    assert torch.allclose(out[0, 0, : len(wanted)].double(), wanted, atol=1e-5)
    assert lse.shape == (1, 2, GRID.seq_len)


def test_what_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = made()
    other = compile_mask(load_mask("radial"), TokenGrid(5, 6, 8), 16, 16)
    with pytest.raises(InputsError, match="radial is compiled for the grid 5x6x8, and the inputs"):
        measure(inputs, [other])
    plan = parse_head_plan({"name": "plan", "heads": {"0-2": "dense"}})
    with pytest.raises(InputsError, match="has masks for 3 heads, and the inputs have 2"):
        measure(inputs, [compile_heads(plan, GRID, 16, 16)])
    monkeypatch.setattr("radialbench.fidelity.measure.free_memory", lambda: 1000)
    with pytest.raises(InputsError, match="GiB of memory, and 0.0 GiB are free; take fewer rows"):
        measure(inputs, tables(inputs))
