import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from radialbench.maskgen.compiler.blocks import TABLE, ascending, ranked, starts, unique_rows

WHOLE = st.integers(-3, 3) | st.integers(-(2**32), 2**32)
ROWS = st.lists(st.tuples(WHOLE, st.sampled_from([0.5, -1.0, 2**40]), WHOLE, WHOLE), max_size=30)


@given(ROWS)
def test_kinds_are_the_distinct_rows(rows: list[tuple[int, float, int, int]]) -> None:
    dtypes = (np.int64, np.float64, np.int64, np.int64)
    columns = [np.array([row[place] for row in rows], dtype) for place, dtype in enumerate(dtypes)]
    some, kind = unique_rows(columns)
    assert [rows[some[number]] for number in kind] == rows
    assert len(some) == len(set(rows))


@given(st.lists(st.integers(0, 50), max_size=30), st.sampled_from([51, 51 * 30 * TABLE]))
def test_ranked_by_table_and_by_sort(values: list[int], below: int) -> None:
    distinct, place = ranked(np.array(values, np.int64), below)
    assert distinct.tolist() == sorted(set(values))
    assert distinct[place].tolist() == values


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_ascending_and_starts(values: list[int]) -> None:
    numbers = np.array(values, np.int64)
    assert ascending(numbers).tolist() == sorted(set(values))
    assert numbers.tolist() == values
    expected = [at == 0 or values[at] != values[at - 1] for at in range(len(values))]
    assert starts(numbers).tolist() == expected
