"""The gate before every time: what passes, what does not, and how far a result may be off."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from radialbench.kernels.measure.accuracy import WRONG, Inputs, compare, expected, make_inputs
from radialbench.maskgen.table import BlockTable
from radialbench.records.codec import to_dict
from radialbench.records.measurement import Accuracy
from radialbench.records.problem import Problem
from tests.kernels.tables import Bool, mixed_mask, problem_of, table_of

Result = tuple[Tensor, Tensor]


def attention(inputs: Inputs, mask: Bool, scale: float) -> Result:
    """Spell the definition out in the dtype of the inputs."""
    q, k, v = inputs
    scores = (q @ k.mT) * scale
    scores = scores.masked_fill(~torch.from_numpy(mask), -math.inf)
    lse = scores.float().logsumexp(-1)
    return scores.softmax(-1).nan_to_num(nan=0.0) @ v, lse


def judged(
    table: BlockTable, problem: Problem, result: Result, inputs: Inputs, *, rows: int = 1024
) -> Accuracy:
    return compare(result, expected(inputs, table=table, sm_scale=problem.scale, rows=rows))


def case(seq_len: int = 150, **fields: object) -> tuple[Bool, BlockTable, Problem, Inputs]:
    mask = mixed_mask(seq_len)
    table = table_of(mask, 32, 16)
    problem = problem_of(table, **fields)
    return mask, table, problem, make_inputs(problem)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_definition_in_the_inputs_dtype_passes(dtype: str) -> None:
    mask, table, problem, inputs = case(dtype=dtype, batch=2, heads=2)
    accuracy = judged(table, problem, attention(inputs, mask, problem.scale), inputs)
    assert accuracy.passed
    assert 0 < accuracy.rms_error <= accuracy.max_abs_error <= accuracy.tolerance
    assert (accuracy.rows, accuracy.rows_total) == (600, 600)
    assert accuracy.reference == "float64 definition"


def test_one_pair_too_few_or_too_many_does_not_pass() -> None:
    mask, table, problem, inputs = case()
    row = 100
    for column in (int(np.flatnonzero(mask[row])[0]), int(np.flatnonzero(~mask[row])[0])):
        wrong = mask.copy()
        wrong[row, column] ^= True
        accuracy = judged(table, problem, attention(inputs, wrong, problem.scale), inputs)
        assert not accuracy.passed
        assert accuracy.max_lse_error > accuracy.tolerance


@pytest.mark.parametrize("head", [(0, 0), (1, 2)])
def test_every_head_is_compared(head: tuple[int, int]) -> None:
    mask, table, problem, inputs = case(batch=2, heads=3)
    out, lse = attention(inputs, mask, problem.scale)
    out[head][70] *= 1.01
    assert not judged(table, problem, (out, lse), inputs).passed


def test_a_wrong_lse_alone_does_not_pass() -> None:
    mask, table, problem, inputs = case()
    out, lse = attention(inputs, mask, problem.scale)
    in_bits = judged(table, problem, (out, lse / math.log(2)), inputs)
    assert in_bits.max_abs_error <= in_bits.tolerance
    assert not in_bits.passed


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["out", "lse"])
def test_what_is_no_number_does_not_pass_and_can_be_stored(place: str, number: float) -> None:
    mask, table, problem, inputs = case()
    out, lse = attention(inputs, mask, problem.scale)
    (out[0, 0, 10, 3:4] if place == "out" else lse[0, 0, 10:11]).fill_(number)
    accuracy = judged(table, problem, (out, lse), inputs)
    assert not accuracy.passed
    assert max(accuracy.max_abs_error, accuracy.max_lse_error) == WRONG
    assert math.isfinite(accuracy.rms_error)
    to_dict(accuracy)


def test_a_row_without_keys_must_be_zero_with_an_lse_of_minus_infinity() -> None:
    mask, table, problem, inputs = case()
    out, lse = attention(inputs, mask, problem.scale)
    empty = int(np.flatnonzero(~mask.any(axis=1))[0])
    assert judged(table, problem, (out, lse), inputs).passed
    assert not judged(table, problem, (out, lse.nan_to_num(neginf=-1e30)), inputs).passed
    out[0, 0, empty] = inputs[2].mean()
    assert not judged(table, problem, (out, lse), inputs).passed


def test_an_output_that_lacks_the_scale_does_not_pass() -> None:
    mask, table, problem, inputs = case()
    assert not judged(table, problem, attention(inputs, mask, 1.0), inputs).passed


def test_a_long_sequence_is_sampled_and_the_record_says_so() -> None:
    mask, table, problem, inputs = case(seq_len=600)
    result = attention(inputs, mask, problem.scale)
    accuracy = judged(table, problem, result, inputs, rows=100)
    assert accuracy.passed
    assert (accuracy.rows, accuracy.rows_total) == (100, 600)
    assert accuracy.reference == "float64 definition, stratified sample of rows"


def test_the_rows_are_shared_out_over_the_heads_but_each_has_some() -> None:
    mask, table, problem, inputs = case(seq_len=600, heads=5)
    result = attention(inputs, mask, problem.scale)
    assert judged(table, problem, result, inputs, rows=500).rows == 500
    assert judged(table, problem, result, inputs, rows=10).rows == 5 * 64


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mask, table, problem, inputs = case()
    result = attention(inputs, mask, problem.scale)
    whole = judged(table, problem, result, inputs)
    monkeypatch.setattr("radialbench.kernels.backends.reference.CHUNK_BYTES", 8 * 150 * 7)
    parts = judged(table, problem, result, inputs)
    assert parts.rows == whole.rows
    assert parts.max_abs_error == pytest.approx(whole.max_abs_error)
    assert parts.rms_error == pytest.approx(whole.rms_error)
    # Sums in float32, whose rounding changes with their grouping, have a part in the tolerance.
    assert parts.tolerance == pytest.approx(whole.tolerance, rel=0.3)


def test_the_tolerance_follows_the_dtype_and_the_size_of_the_scores() -> None:
    tolerance = {}
    for dtype in ("float32", "float16", "bfloat16"):
        mask, table, problem, inputs = case(dtype=dtype)
        result = attention(inputs, mask, problem.scale)
        tolerance[dtype] = judged(table, problem, result, inputs).tolerance
    assert tolerance["float32"] < 1e-4 < tolerance["float16"] < tolerance["bfloat16"] < 0.1

    mask, table, problem, (q, k, v) = case()
    large = (300 * q, k, v)
    accuracy = judged(table, problem, attention(large, mask, problem.scale), large)
    assert accuracy.passed
    assert accuracy.tolerance > 20 * tolerance["float32"]


def test_the_tolerance_is_the_sum_that_is_documented() -> None:
    keys = 4
    table = table_of(np.ones((keys, keys), np.bool_), 4, 4)
    problem = problem_of(table, head_dim=1)
    q, k = torch.zeros(1, 1, keys, 1), torch.zeros(1, 1, keys, 1)
    v = torch.full((1, 1, keys, 1), 8.0)
    accuracy = judged(table, problem, (v, torch.full((1, 1, keys), math.log(keys))), (q, k, v))
    assert accuracy.passed
    low_precision = 0.0
    assert accuracy.tolerance == pytest.approx(
        2 * low_precision + 2**-24 * 8.0 + 4 * 2**-24 * (1 + 0.0) * 8.0
    )


def test_8_bits_may_shift_the_lse_more_than_the_output() -> None:
    table = table_of(np.ones((2000, 2000), np.bool_), 128, 128)
    problem = problem_of(table, dtype="bfloat16", head_dim=64)
    q, k, v = make_inputs(problem)
    wanted = expected((q, k, v), table=table, sm_scale=problem.scale, fp8=True)
    rough = [x.to(torch.float8_e4m3fn).to(x.dtype) for x in (q, k, v)]
    out, lse = attention((rough[0], rough[1], rough[2]), np.ones((2000, 2000), np.bool_), 0.125)
    accuracy = compare((out, lse), wanted)
    assert accuracy.passed
    assert accuracy.lse_tolerance is not None
    assert accuracy.lse_tolerance > accuracy.tolerance
    assert accuracy.error_share == max(
        accuracy.max_abs_error / accuracy.tolerance,
        accuracy.max_lse_error / accuracy.lse_tolerance,
    )
    assert not compare((torch.zeros_like(out), lse), wanted).passed
    in_16_bits = expected((q, k, v), table=table, sm_scale=problem.scale)
    assert in_16_bits.lse_tolerance is None
    assert not compare((out, lse), in_16_bits).passed
