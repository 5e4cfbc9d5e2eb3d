"""Seeded tensors, and their way into a mask's token order and back."""

import numpy as np
import pytest
import torch

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.kernels.device_table import permutation
from radialbench.kernels.measure.accuracy import checksums, make_inputs
from tests.kernels.tables import problem_of, table_of

TABLE = table_of(np.ones((60, 60), np.bool_), 16, 16)


def test_shapes_and_dtype_are_the_problems() -> None:
    problem = problem_of(TABLE, batch=2, heads=3, head_dim=8, dtype="bfloat16")
    for tensor in make_inputs(problem):
        assert tensor.shape == (2, 3, 60, 8)
        assert tensor.dtype == torch.bfloat16


def test_the_same_seed_gives_the_same_numbers_in_every_dtype() -> None:
    first = make_inputs(problem_of(TABLE))
    rounded = make_inputs(problem_of(TABLE, dtype="float16"))
    for one, again, other in zip(first, make_inputs(problem_of(TABLE)), rounded, strict=True):
        assert torch.equal(one, again)
        assert torch.equal(one.half(), other)


def test_other_seeds_and_other_tensors_differ() -> None:
    q, k, v = make_inputs(problem_of(TABLE))
    assert not torch.equal(q, k)
    assert not torch.equal(k, v)
    assert not torch.equal(q, make_inputs(problem_of(TABLE), seed=1)[0])


def test_numbers_are_standard_normal() -> None:
    q = make_inputs(problem_of(TABLE, heads=50))[0]
    assert abs(float(q.mean())) < 0.02
    assert float(q.std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("mask", ["sta", "svg_temporal", "radial"])
def test_a_mask_order_is_undone_by_its_way_back(mask: str) -> None:
    table = compile_mask(load_mask(mask), TokenGrid(5, 6, 7, text_tokens=9), 32, 32)
    there, back = permutation(table)
    q = make_inputs(problem_of(table, heads=2))[0]
    assert torch.equal(q[:, :, there][:, :, back], q)
    first = int(table.order.source_index(table.grid)[3])
    assert torch.equal(q[:, :, there[3]], q[:, :, first])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_checksums_show_any_write(dtype: str) -> None:
    inputs = make_inputs(problem_of(TABLE, heads=2, dtype=dtype))
    made = checksums(inputs)
    q, k, v = (x.clone() for x in inputs)
    assert checksums((q, k, v)) == made
    q[0, 1, 7, 3] = torch.nan
    k[0, 0, [1, 2]] = k[0, 0, [2, 1]]
    v[0] = v[0].flip(0)
    assert all(one != other for one, other in zip(checksums((q, k, v)), made, strict=True))
    q[0, 1, 7, 3] = inputs[0][0, 1, 7, 3]
    assert checksums((q, k, v))[0] == made[0]
