"""Labels of masks are made from fields, and two masks never share a name."""

from dataclasses import replace
from pathlib import Path

import pytest

from radialbench.errors import RecordError
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity, distinct_names
from radialbench.maskgen.library import load_mask, mask_names, parse_mask

RADIAL = load_mask("radial").identity


def test_an_identity_says_all_that_the_mask_is() -> None:
    found = load_mask("radial_blocks:hunyuan", empty_rows="keep", decay=0.5)
    assert found.identity == MaskIdentity(
        name="radial_blocks",
        fingerprint=found.fingerprint,
        definition="radial_blocks",
        params={"decay": 0.5, "block": 128, "sink_frames": 0, "half_neighbours": False},
        shown=("decay", "sink_frames"),
        empty_rows="keep",
    )
    assert found.label == found.identity.label == "radial_blocks(decay=0.5, sink_frames=0)"
    assert compile_mask(found, TokenGrid(2, 3, 5)).mask == found.identity


def test_a_mask_of_a_file_is_called_by_its_file(tmp_path: Path) -> None:
    for name in ("near", "far"):
        (tmp_path / f"{name}.yaml").write_text(f"name: m\nmask: dt <= {'03'[name == 'far']}\n")
    near, far = (load_mask(tmp_path / f"{name}.yaml") for name in ("near", "far"))
    assert (near.label, far.label) == ("near", "far")
    assert (near.identity.definition, near.identity.file) == ("m", "near.yaml")
    assert near.identity.fingerprint != far.identity.fingerprint
    assert near == parse_mask({"name": "m", "mask": "dt <= 0"})


def test_dense_is_known_by_its_rule_and_not_by_its_name() -> None:
    assert [name for name in mask_names() if load_mask(name).identity.dense] == ["dense"]
    assert parse_mask({"name": "mine", "mask": "yes", "params": {
        "yes": {"type": "bool", "default": True}
    }}).identity.dense  # fmt: skip
    assert not parse_mask({"name": "dense", "mask": "dt <= 0"}).identity.dense
    assert not parse_mask({"name": "dense", "mask": True, "text": "qi == ki"}).identity.dense


def test_what_is_shown_has_a_value() -> None:
    with pytest.raises(RecordError, match="unknown parameter 'deacy'; did you mean 'decay'"):
        replace(RADIAL, shown=("deacy",))
    with pytest.raises(RecordError, match="a mask has a name and a fingerprint"):
        replace(RADIAL, name="")


def test_masks_of_one_label_have_distinct_names() -> None:
    near = MaskIdentity("m", "0" * 16, "m", file="a/m.yaml")
    far = replace(near, fingerprint="1" * 16, file="b/m.yaml")
    assert list(distinct_names([near, far, near, RADIAL]).values()) == [
        "m (a/m.yaml)",
        "m (b/m.yaml)",
        "radial",
    ]
    library = replace(far, file=None)
    assert list(distinct_names([near, library]).values()) == ["m (a/m.yaml)", "m (library)"]
    edited = replace(near, fingerprint="1234567890abcdef")
    assert list(distinct_names([near, edited]).values()) == ["m (00000000)", "m (12345678)"]
    assert list(distinct_names([near]).values()) == ["m"]


def test_settings_of_one_definition_that_a_suite_gives_one_name_keep_it() -> None:
    """Such as a mask whose density follows the length."""
    settings = [
        replace(load_mask("svg_spatial", density=density).identity, name="svg", shown=())
        for density in (0.1, 0.2)
    ]
    assert list(distinct_names(settings).values()) == ["svg", "svg"]
