from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import ReportError
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.result import Record
from radialbench.reports.masks import draw_masks, drawable, known_mask, mask_folders, pictured
from radialbench.reports.rows import rows_of
from tests.reports.factory import made


@pytest.mark.parametrize(
    "spec",
    [
        load_mask("radial"),
        load_mask("radial", decay=0.5, sink_frames=2),
        load_mask("sta", exact_even=True, window_t=2),
        load_mask("svg_spatial", density=0.1, round_up=False),
    ],
    ids=lambda spec: spec.label,
)
def test_a_mask_is_found_by_its_fields(spec: MaskSpec) -> None:
    assert known_mask(spec.identity) == spec
    named = replace(spec.identity, name="what a suite calls it", shown=())
    assert known_mask(named) == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "f00d"},
        {"params": {"decay": 0.5}},
        {"params": {"speed": 1}},
        {"params": {"decay": "fast"}},
        {"empty_rows": "perhaps"},
        {"definition": "nothing"},
        {"definition": "../radial"},
        {"definition": "radial.yaml"},
    ],
)
def test_another_mask_is_not_guessed(changes: dict[str, Any]) -> None:
    with pytest.raises(ReportError):
        known_mask(replace(load_mask("radial").identity, **changes))


OWN = "name: own\nparams: {reach: {type: int, default: 1}}\nmask: dt <= reach\n"


@pytest.mark.parametrize("where", ["", "masks/"])
def test_ones_own_mask_is_found_by_its_file(tmp_path: Path, where: str) -> None:
    file = tmp_path / "suites" / where / "own.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(OWN, encoding="utf-8")
    spec = load_mask(file, reach=2)
    mask = replace(spec.identity, file=f"{where}own.yaml")
    record = case("radial")
    command = f"radialbench run {tmp_path}/suites/mine.yaml"
    record = replace(
        record,
        mask=mask,
        problem=replace(record.problem, mask_fingerprint=mask.fingerprint),
        environment=replace(record.environment, command=command),
    )
    rows = rows_of([record])[0]
    ((name, table),), missing = pictured(rows, mask_folders("", rows))
    assert (name, missing) == (mask.label, {})
    assert table == compile_mask(spec, record.problem.grid)
    beside = mask_folders(str(tmp_path / "suites" / "results" / "results.jsonl"), [])
    assert known_mask(mask, beside) == replace(spec, file=f"{where}own.yaml")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "its file own.yaml is not here"),
        (OWN.replace("<=", "<"), "its file own.yaml has changed since"),
        ("name: own\nmask: dt <= 1\n", "its file own.yaml has changed since"),
        ("not: a mask\n", "its file own.yaml has changed since"),
        ("name: own\nheads: {0: radial}\n", "it is a head plan: each group of heads has a mask"),
    ],
)
def test_it_is_said_why_ones_own_mask_is_not_drawn(
    tmp_path: Path, text: str | None, why: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OWN, encoding="utf-8")
    mask = load_mask(file, reach=2).identity
    file.unlink() if text is None else file.write_text(text, encoding="utf-8")
    with pytest.raises(ReportError, match=why):
        known_mask(mask, [tmp_path])


@pytest.mark.parametrize("file", ["/etc/own.yaml", "../own.yaml", "masks/../../own.yaml"])
def test_files_of_records_are_looked_for_in_the_folders_only(tmp_path: Path, file: str) -> None:
    (tmp_path / "own.yaml").write_text(OWN, encoding="utf-8")
    (tmp_path / "inside" / "masks").mkdir(parents=True)
    mask = replace(load_mask(tmp_path / "own.yaml").identity, file=file)
    with pytest.raises(ReportError, match="is not here"):
        known_mask(mask, [tmp_path / "inside"])


def case(label: str, frames: int = 3) -> Record:
    """A case of a mask of the library, or of one that is not there."""
    grid = TokenGrid(frames, 4, 5)
    mask = MaskIdentity("mine", "f00d") if label == "mine" else load_mask(label).identity
    record = made(label)
    problem = replace(record.problem, mask_fingerprint=mask.fingerprint, grid=grid)
    return replace(record, case=f"{label}{frames}", mask=mask, problem=problem)


def test_masks_of_the_library_are_drawn_at_the_longest_length_that_is_quick() -> None:
    records = [case(label, f) for f in (3, 5, 2000) for label in ("dense", "radial", "mine", "sta")]
    titled = drawable(rows_of(records)[0])
    assert [title for title, _ in titled] == ["radial", "sta"]
    for title, table in titled:
        assert table == compile_mask(load_mask(title), TokenGrid(5, 4, 5))


def test_four_masks_at_most() -> None:
    labels = ("radial", "sta", "svg_spatial", "svg_temporal", "power")
    assert len(drawable(rows_of([case(label) for label in labels])[0])) == 4


def test_the_caption_names_what_is_shown_and_what_is_not(tmp_path: Path) -> None:
    drawn = draw_masks(rows_of([case("radial"), case("mine"), case("dense")])[0], tmp_path)
    assert drawn is not None
    path, caption = drawn
    assert path.read_bytes().startswith(b"\x89PNG")
    assert caption == ("Masks at 3×4×5 tokens: radial; queries down, keys across. Not drawn: mine.")


def test_nothing_to_draw(tmp_path: Path) -> None:
    for records in ([], [made()], [case("dense")], [case("mine")], [case("radial", 2000)]):
        assert draw_masks(rows_of(records)[0], tmp_path) is None
    assert not list(tmp_path.iterdir())
