"""What every export format promises: read back, it is the same mask."""

import re

import numpy as np
import pytest

from radialbench import BlockTable, TokenGrid, compile_mask, load_mask
from radialbench.errors import TableError
from radialbench.maskgen.export import EXPORTERS, Export, load_exporter
from tests.kernels.tables import mixed_mask, rows_of, table_of

SIZES = [(1, 16, 16), (63, 16, 16), (100, 16, 32), (100, 32, 16), (96, 48, 40), (65, 128, 128)]
BLOCKS_OF = {"sparge": (128, 64)}

every_format = pytest.mark.parametrize("name", EXPORTERS)


def converted(name: str, table: BlockTable) -> Export:
    exporter = load_exporter(name)
    options = {} if exporter.keeps_partial else {"partial": "full"}
    return exporter.of(table, **options)


@every_format
@pytest.mark.parametrize(("seq_len", "block_m", "block_n"), SIZES)
def test_reads_back(name: str, seq_len: int, block_m: int, block_n: int) -> None:
    block_m, block_n = BLOCKS_OF.get(name, (block_m, block_n))
    mask = mixed_mask(seq_len)
    table = table_of(mask, block_m, block_n)
    export = converted(name, table)
    expected = mask
    if not export.keeps_partial:
        blocks = table.any_blocks().repeat(block_m, axis=0).repeat(block_n, axis=1)
        expected = blocks[:seq_len, :seq_len]
        assert export.added_pairs == expected.sum() - mask.sum()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(export.token_mask(), expected)


@every_format
@pytest.mark.parametrize(("first", "q_len"), [(0, 100), (1, 128), (2, 50)])
def test_reads_back_fewer_queries_than_keys(name: str, first: int, q_len: int) -> None:
    table = rows_of(table_of(mixed_mask(330), 128, 64), first, q_len)
    export = converted(name, table)
    expected = table.to_dense()
    if not export.keeps_partial:
        blocks = table.any_blocks().repeat(128, axis=0).repeat(64, axis=1)
        expected = blocks[:q_len, :330]
        assert export.added_pairs == expected.sum() - table.pairs  # type: ignore[attr-defined]
    np.testing.assert_array_equal(export.token_mask(), expected)


@every_format
def test_reads_back_a_compiled_mask(name: str) -> None:
    block_m, block_n = BLOCKS_OF.get(name, (32, 16))
    table = compile_mask(load_mask("radial"), TokenGrid(5, 4, 9), block_m, block_n)
    export = converted(name, table)
    if export.keeps_partial:
        np.testing.assert_array_equal(export.token_mask(), table.to_dense())
    assert not (table.to_dense() & ~export.token_mask()).any()


@every_format
def test_partial_blocks_are_kept_or_refused(name: str) -> None:
    exporter = load_exporter(name)
    mask = np.tri(300, dtype=np.bool_)
    table = table_of(mask, 128, 64)
    if exporter.keeps_partial:
        np.testing.assert_array_equal(exporter.of(table).token_mask(), mask)
        return
    added = table.any_blocks().repeat(128, 0).repeat(64, 1)[:300, :300].sum() - mask.sum()
    message = re.escape(
        f"partial='full' (--fill-partial) attends them whole, which adds {added:,} pairs to 45,150"
    )
    with pytest.raises(TableError, match=message):
        exporter.of(table)


@every_format
def test_whole_blocks_need_no_permission(name: str) -> None:
    mask = np.zeros((300, 300), np.bool_)
    mask[:128, 64:192] = mask[128:, 256:] = True
    export = load_exporter(name).of(table_of(mask, 128, 64))
    np.testing.assert_array_equal(export.token_mask(), mask)


@every_format
def test_arrays_have_no_python_objects(name: str) -> None:
    arrays = converted(name, table_of(mixed_mask(200), *BLOCKS_OF.get(name, (16, 16)))).arrays()
    assert arrays
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())


def test_unknown_format() -> None:
    with pytest.raises(TableError, match="unknown export format 'flux'; did you mean 'flex'"):
        load_exporter("flux")
