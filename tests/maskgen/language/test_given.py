"""Block tables given to a mask: its identity, their files, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radialbench import TokenGrid, compile_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.identity import distinct_names
from radialbench.maskgen.language.given import read_tables
from radialbench.maskgen.library import parse_head_plan
from radialbench.maskgen.oracle import token_mask

MASK = parse_mask({"name": "m", "mask": {"table": {"name": "chosen", "block": 4}}})
GRID = TokenGrid(1, 3, 4)
ONES = np.ones((3, 3), np.bool_)


def test_the_content_is_part_of_the_masks_identity() -> None:
    full, diagonal = (MASK.with_tables({"chosen": blocks}) for blocks in (ONES, np.eye(3) > 0))
    assert full == MASK.with_tables({"chosen": ONES.copy()})
    assert hash(full) == hash(MASK.with_tables({"chosen": ONES.copy()}))
    fingerprints = {MASK.fingerprint, full.fingerprint, diagonal.fingerprint}
    assert len(fingerprints) == 3
    assert full.label == f"m(chosen={full.tables[0].digest[:8]})"
    table = compile_mask(full, GRID, 4, 4)
    assert table.mask == full.identity
    assert np.array_equal(compile_mask(diagonal, GRID, 4, 4).to_dense(), token_mask(diagonal, GRID))


def test_a_later_change_of_an_array_changes_nothing() -> None:
    blocks = ONES.copy()
    spec = MASK.with_tables({"chosen": blocks})
    blocks[:] = False
    assert compile_mask(spec, GRID, 4, 4).pairs == 144


def test_files_of_one_name_are_two_rows(tmp_path: Path) -> None:
    masks = []
    for folder, blocks in (("a", ONES), ("b", np.eye(3) > 0)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "blocks.npy", blocks)
        given = read_tables({"chosen": "blocks.npy"}, tmp_path / folder)
        masks.append(MASK.with_tables(given).identity)
    assert {mask.label for mask in masks} == {"m(chosen=blocks.npy)"}
    assert len(set(distinct_names(masks).values())) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read table 'chosen': blocks.npy: No such file or directory"),
        (b"text", "cannot read table 'chosen': blocks.npy is no npy file with an array of bool"),
        (
            np.ones((3, 2), np.bool_),
            "table 'chosen' (blocks.npy) must be bool [3, 3] (blocks of 4 tokens), got bool [3, 2]",
        ),
        (
            np.ones((3, 3), np.uint8),
            "table 'chosen' (blocks.npy) must be bool [3, 3] (blocks of 4 tokens), got uint8 "
            "[3, 3]; convert it with .astype(bool)",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: Any, message: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / "blocks.npy").write_bytes(content)
    elif content is not None:
        np.save(tmp_path / "blocks.npy", content)
    with pytest.raises(SpecError) as error:
        given = read_tables({"chosen": "blocks.npy"}, tmp_path)
        compile_mask(MASK.with_tables(given), GRID, 4, 4)
    assert str(error.value).startswith(message)


def test_names_are_checked() -> None:
    with pytest.raises(SpecError, match="unknown table of m 'chosn'; did you mean 'chosen'"):
        MASK.with_tables({"chosn": ONES})


def test_head_plans_take_tables_for_the_masks_that_ask_for_them() -> None:
    chosen = {"name": "x", "mask": {"table": {"name": "chosen", "block": 4}}}
    plan = parse_head_plan({"name": "p", "heads": {"0": chosen, "1": "dense"}})
    given = plan.with_tables({"chosen": ONES})
    assert [len(group.mask.tables) for group in given.groups] == [1, 0]
    with pytest.raises(SpecError, match="unknown table of p 'chosn'; did you mean 'chosen'"):
        plan.with_tables({"chosn": ONES})
