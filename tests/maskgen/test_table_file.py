"""Files of block tables: everything comes back, and nothing else is believed."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from radialbench import BlockTable, TokenGrid
from radialbench.errors import TableError
from radialbench.maskgen import table as table_module
from radialbench.maskgen.export.npz import Npz
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.order import TokenOrder
from radialbench.maskgen.table import ARRAYS
from tests.kernels.tables import mixed_mask, table_of

Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture
def table() -> BlockTable:
    plain = table_of(mixed_mask(90), 5, 33, order=TokenOrder("tiles", (2, 3, 4)))
    mask = replace(load_mask("radial", decay=0.5).identity, name="decay ½", file="½.yaml")
    return replace(plain, grid=TokenGrid(2, 5, 8, 10, True, 7), mask=mask)


def write(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def with_header(arrays: Arrays, **changes: Any) -> Arrays:
    header = json.loads(arrays["header"].tobytes()) | changes
    return {**arrays, "header": np.frombuffer(json.dumps(header).encode(), np.uint8)}


def test_round_trip(table: BlockTable, tmp_path: Path) -> None:
    path = tmp_path / "no suffix"
    table.save(str(path))
    back = BlockTable.load(path)
    assert back == table
    assert (back.grid, back.order, back.mask) == (table.grid, table.order, table.mask)
    assert [file.name for file in tmp_path.iterdir()] == ["no suffix"]


@pytest.mark.parametrize("order", ["hilbert", "space_major", "tiles:2,3,4+1,0,3"])
def test_orders_come_back(table: BlockTable, order: str, tmp_path: Path) -> None:
    ordered = replace(table, order=TokenOrder.parse(order))
    ordered.save(tmp_path / "table.npz")
    assert BlockTable.load(tmp_path / "table.npz").order == ordered.order


def test_a_failed_write_keeps_the_old_file(
    table: BlockTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.npz"
    table.save(path)

    def full_disk(*args: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(TableError, match="cannot write .*: No space left on device"):
        replace(table, mask=None).save(path)
    assert BlockTable.load(path).mask == table.mask
    assert len(list(tmp_path.iterdir())) == 1


def test_no_folder(table: BlockTable, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot write .*No such file or directory"):
        table.save(tmp_path / "none" / "table.npz")
    with pytest.raises(TableError, match="cannot read .*No such file or directory"):
        BlockTable.load(tmp_path / "table.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"frames: 21\n" * 100])
def test_not_an_npz_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"cannot read .*table\.npz: not an npz file, or damaged"):
        BlockTable.load(path)


def test_foreign(tmp_path: Path) -> None:
    path = write(tmp_path / "table.npz", {"weights": np.zeros(3)})
    with pytest.raises(TableError, match="it is not a block table"):
        BlockTable.load(path)


def test_pickled_objects_are_not_loaded(table: BlockTable, tmp_path: Path) -> None:
    objects = np.array([print], dtype=object)
    path = write(tmp_path / "table.npz", {**Npz.of(table).arrays(), "bitmap_of": objects})
    with pytest.raises(TableError, match="cannot read"):
        BlockTable.load(path)


@pytest.mark.parametrize("version", [1, 3, None])
def test_another_version(version: object, table: BlockTable, tmp_path: Path) -> None:
    arrays = with_header(Npz.of(table).arrays(), version=version, mask="radial d1f1af82ff44f151")
    message = (
        f"written in version {version}; this version reads 2: compile the mask again, or install"
    )
    with pytest.raises(TableError, match=message):
        BlockTable.load(write(tmp_path / "table.npz", arrays))


def test_a_table_of_no_mask(table: BlockTable, tmp_path: Path) -> None:
    replace(table, mask=None).save(tmp_path / "table.npz")
    assert BlockTable.load(tmp_path / "table.npz").mask is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_m": 6}, "not a block table"),
        ({"block_m": "5"}, "the header is damaged"),
        ({"grid": {"frames": 0, "height": 5, "width": 8}}, "frames must be a whole number"),
        ({"grid": [2, 5, 8]}, "the header is damaged"),
        ({"mask": "radial"}, "the header is damaged"),
        ({"mask": {"name": "m", "fingerprint": "f", "shown": ["w"]}}, "the header is damaged"),
        ({"order": "sideways"}, "order must be one of"),
        ({"order": "raster"}, "something was changed"),
    ],
)
def test_damaged_header(
    changes: dict[str, Any], message: str, table: BlockTable, tmp_path: Path
) -> None:
    arrays = with_header(Npz.of(table).arrays(), **changes)
    with pytest.raises(TableError, match=message):
        BlockTable.load(write(tmp_path / "table.npz", arrays))


@pytest.mark.parametrize("name", ARRAYS)
def test_damaged_arrays(name: str, table: BlockTable, tmp_path: Path) -> None:
    arrays = Npz.of(table).arrays()
    path = tmp_path / "table.npz"
    missing = {key: array for key, array in arrays.items() if key != name}
    with pytest.raises(TableError, match=f"{name} must be .* got nothing"):
        BlockTable.load(write(path, missing))
    with pytest.raises(TableError, match=f"{name} must be .* got float64"):
        BlockTable.load(write(path, {**arrays, name: arrays[name].astype(np.float64)}))
    with pytest.raises(TableError, match=r"not a block table|something was changed"):
        BlockTable.load(write(path, {**arrays, name: arrays[name][:0]}))
    changed = arrays[name].copy()
    changed[-1] ^= 1
    with pytest.raises(TableError, match=r"not a block table|something was changed"):
        BlockTable.load(write(path, {**arrays, name: changed}))


def test_truncated_and_overwritten_files(table: BlockTable, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    table.save(path)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for size in generator.integers(0, len(whole), 20):
        path.write_bytes(whole[:size])
        with pytest.raises(TableError):
            BlockTable.load(path)
    refused = 0
    for place in generator.integers(0, len(whole), 200):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert BlockTable.load(path) == table
        except TableError:
            refused += 1
    assert refused > 100


def test_too_large(table: BlockTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bitmaps.npy", bytes(1 << 20))
    monkeypatch.setattr(table_module, "MAX_BYTES", 1 << 19)
    with pytest.raises(
        TableError, match="its arrays take 1,048,576 bytes, and 524,288 is the most"
    ):
        BlockTable.load(path)
