"""Tables and what the definition gives are made once, and shared."""

from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.records.problem import KernelConfig
from radialbench.suites import resources
from radialbench.suites.resources import Tables, shared_table
from tests.suites import small


def test_a_shared_table_is_read_where_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = small.case(masks=["radial"])
    left = shared_table(tmp_path, case.mask, case.grid, case.config)
    monkeypatch.setattr(resources, "compile_any", lambda *given: pytest.fail("compiled again"))
    assert shared_table(tmp_path, case.mask, case.grid, case.config) == left
    found, compile_ms = Tables(tmp_path).table(case.mask, case.grid, case.config)
    assert found == left
    assert compile_ms > 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".table"]


def test_other_blocks_masks_and_grids_are_other_tables(tmp_path: Path) -> None:
    case, other = small.cases(
        masks=["radial", "dense"], grids=[{"frames": 2, "height": 3, "width": 5}]
    )
    (longer,) = small.cases(masks=["radial"], grids=[{"frames": 3, "height": 3, "width": 5}])
    shared_table(tmp_path, case.mask, case.grid, case.config)
    here = Tables(tmp_path)
    for mask, grid, config in [
        (other.mask, case.grid, case.config),
        (longer.mask, longer.grid, case.config),
        (case.mask, case.grid, KernelConfig(32, 16)),
        (case.mask, case.grid, KernelConfig(16, 32)),
    ]:
        table, _ = here.table(mask, grid, config)
        assert (table.grid, table.block_m, table.block_n) == (grid, config.block_m, config.block_n)
        assert table == Tables().table(mask, grid, config)[0]


def test_the_definition_is_asked_once_for_all_block_sizes() -> None:
    case = small.case(masks=["radial"])
    bench = small.bench()
    blocks = [KernelConfig(16, 16), KernelConfig(32, 16), KernelConfig(64, 64)]
    found = [bench.tables.table(case.mask, case.grid, config)[0] for config in blocks]
    expected = [bench.expected(case, table, "cpu") for table in found]
    assert expected[0] is expected[1] is expected[2]
    scaled = replace(case, problem=replace(case.problem, sm_scale=0.5))
    assert bench.expected(scaled, found[0], "cpu") is not expected[0]
