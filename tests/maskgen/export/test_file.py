"""Tables are written in every format, with a header that says what they are of."""

import json
from pathlib import Path

import numpy as np
import pytest

from radialbench import BlockTable
from radialbench.errors import TableError
from radialbench.maskgen.export import EXPORTERS, load_exporter, save_export
from tests.kernels.tables import mixed_mask, table_of

TABLE = table_of(mixed_mask(300), 128, 64)


@pytest.mark.parametrize("name", EXPORTERS)
def test_arrays_come_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    options = {} if load_exporter(name).keeps_partial else {"partial": "full"}
    export = save_export(path, TABLE, name, **options)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    header = json.loads(arrays["header"].tobytes())
    for array, wanted in export.arrays().items():
        np.testing.assert_array_equal(arrays[array], wanted)
    assert arrays.keys() == export.arrays().keys() | {"header"}
    assert (header["block_m"], header["block_n"], header["order"]) == (128, 64, "raster")
    assert header["fingerprint"] == TABLE.fingerprint
    if name == "npz":
        assert BlockTable.load(str(path)) == TABLE
        return
    assert header["format"] == f"radialbench block table as {name}"
    assert (header["q_len"], header["k_len"]) == (300, 300)
    assert header["added_pairs"] == getattr(export, "added_pairs", 0)
    with pytest.raises(TableError, match="it is not a block table"):
        BlockTable.load(str(path))


def test_what_a_format_does_not_take_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    cases = [
        ("flex", {"partial": "full"}, "the format flex takes no partial: it keeps partial blocks"),
        ("bsr", {"arch": "sm90", "partial": "full"}, "the format bsr takes no arch$"),
        ("fa4", {"arch": "sm90", "partial": "full"}, "takes no arch and no partial$"),
        ("bsr", {}, "BSR has no partial blocks, and "),
        ("sparge", {"arch": "sm90"}, "SpargeAttn on sm90 has blocks of 64×128 tokens"),
        ("flux", {}, "unknown export format 'flux'"),
    ]
    for name, options, message in cases:
        with pytest.raises(TableError, match=message):
            save_export(path, TABLE, name, **options)
    assert not path.exists()
    with pytest.raises(TableError, match=r"cannot write .*: No such file or directory"):
        save_export(tmp_path / "none" / "table.npz", TABLE, "flex")
