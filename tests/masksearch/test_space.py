"""Families have the values of their ranges, and refuse what is none."""

from pathlib import Path

import pytest

from radialbench.errors import SpecError
from radialbench.maskgen.library import load_mask, mask_names
from radialbench.masksearch.space import DEFAULT_FAMILIES, VALUES, read_families

OWN = """
name: near
params:
  reach: {type: int, default: 3, min: 1, max: 100, search: [2, 6], help: tokens}
  sinks: {type: float, default: 0.5, min: 0, max: 1}
mask: ds < reach or kt < sinks
"""


def test_ranges_are_those_of_the_masks_or_those_given(tmp_path: Path) -> None:
    file = tmp_path / "near.yaml"
    file.write_text(OWN)
    words = ("radial", "svg_profile:wan_temporal", str(file))
    radial, temporal, near = read_families(words, ["radial.decay=0.5..2", "sinks=0.25"])
    decay, sink_frames = radial.axes
    assert (decay.values[0], decay.values[-1], len(decay.values)) == (0.5, 2, VALUES)
    assert sink_frames.values == (0, 1, 2, 3)
    assert radial.size == 4 * VALUES
    assert {axis.name for axis in temporal.axes} == {"frames_wide", "sink_frames"}
    assert [axis.values for axis in near.axes] == [(2, 3, 4, 5, 6), (0.25,)]
    mask = near.at(near.start)
    assert {param.name: param.value for param in mask.params} == {"reach": 3, "sinks": 0.25}


def test_wide_ranges_are_searched_by_ratios() -> None:
    (family,) = read_families(["sliding_window"])
    window, sink = family.axes
    ratios = [b / a for a, b in zip(window.values, window.values[1:], strict=False)]
    assert (window.values[0], window.values[-1]) == (128, 65536)
    assert max(ratios) < 1.13
    assert {b - a for a, b in zip(sink.values, sink.values[1:], strict=False)} == {32}


@pytest.mark.parametrize("name", mask_names())
def test_masks_of_the_library_are_families_around_their_own_values(name: str) -> None:
    if load_mask(name).table_names:
        with pytest.raises(SpecError, match="needs the block table"):
            read_families([name])
        return
    (family,) = read_families([name])
    if name in DEFAULT_FAMILIES:
        assert family.axes
        assert family.at(family.start).name == name
    for axis, place in zip(family.axes, family.start, strict=True):
        (value,) = [one.value for one in family.mask.params if one.name == axis.name]
        assert axis.values[place] == pytest.approx(value, rel=0.1)


@pytest.mark.parametrize(
    ("words", "ranges", "message"),
    [
        (["radiul"], [], "unknown mask 'radiul'; did you mean 'radial'"),
        (["radial", "radial"], [], "a family is given once"),
        (["radial"], ["decay=0..4"], "radial: decay must be in \\(0, 16\\], got 0"),
        (["radial"], ["sta.window_t=1..2"], "unknown family in a range 'sta'"),
        (["radial", "sta"], ["deacy=1..2"], "unknown parameter of the families 'deacy'"),
        (["radial"], ["radial.window=1..2"], "unknown parameter of radial 'window'"),
        (["radial"], ["decay=4..1"], "the range of decay to search rises, got 4 to 1"),
        (["radial"], ["decay 4"], "a range is such as"),
        (["radial"], ["decay=a..b"], "has no number at 'a'"),
        (["sta"], ["window_t=1..2.5"], "sta: window_t must be a whole number"),
        (["sta"], ["exact_even=0..1"], "exact_even is true or false, which has no range"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], ranges: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_families(words, ranges)


def test_a_head_plan_is_no_family(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("name: plan\nheads: {0-1: radial}\n")
    with pytest.raises(SpecError, match="is a head plan: a family is a mask"):
        read_families([str(file)])


@pytest.mark.parametrize(
    ("search", "message"),
    [("[0, 6]", "reach must be in"), ("[3, 2]", "rises"), ("[1]", "search is a least and a")],
)
def test_a_range_of_a_file_is_checked(search: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "near.yaml"
    file.write_text(OWN.replace("[2, 6]", search))
    with pytest.raises(SpecError, match=message):
        read_families([str(file)])
