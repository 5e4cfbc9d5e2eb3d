"""The JSON Schema for editors says what the reader says, of mask files and of head plans."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from radialbench import load_mask, parse_mask
from radialbench.errors import SpecError
from radialbench.maskgen.language.schema import json_schema
from radialbench.maskgen.library import FOLDER, mask_names, parse_head_plan
from tests.maskgen.random_masks import GIVEN, Maker
from tests.suites.json_schema import errors

SCHEMA = json_schema()
DOCS = [
    block
    for page in (Path(__file__).parents[3] / "docs").glob("*.md")
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    if re.search(r"^(mask|heads):", block, re.MULTILINE) and block.startswith("name:")
]


@pytest.mark.parametrize("name", mask_names())
def test_the_library_fits(name: str) -> None:
    assert errors(SCHEMA, yaml.safe_load((FOLDER / f"{name}.yaml").read_text())) == []
    assert errors(SCHEMA, yaml.safe_load(load_mask(name).to_yaml())) == []


@pytest.mark.parametrize("text", DOCS, ids=lambda text: text.split()[1])
def test_the_examples_of_the_docs_fit(text: str) -> None:
    document = yaml.safe_load(text)
    read = parse_head_plan if "heads" in document else parse_mask
    assert read(document).name == document["name"]
    assert errors(SCHEMA, document) == []


def test_the_docs_have_examples_of_both() -> None:
    kinds = {"heads" in yaml.safe_load(text) for text in DOCS}
    assert kinds == {True, False}


@settings(GIVEN, max_examples=10)
@given(seed=st.integers(0, 2**63))
def test_what_is_written_fits(seed: int) -> None:
    spec = parse_mask(Maker(seed).mask(2))
    assert errors(SCHEMA, yaml.safe_load(spec.to_yaml())) == []
    plan = {"name": "p", "heads": {"0-3": spec.to_mapping(), "4": "dense"}}
    assert errors(SCHEMA, yaml.safe_load(parse_head_plan(plan).to_yaml())) == []


ROUNDED = {"block": 4, "keep": "any", "of": True}


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": 3},
        {"msk": True},
        {"mask": None},
        {"mask": {}},
        {"mask": {"any": []}},
        {"mask": {"any": [True], "all": [True]}},
        {"mask": {"roundd": ROUNDED}},
        {"mask": {"rounded": {"block": 4, "keep": "any"}}},
        {"mask": {"rounded": {**ROUNDED, "keep": "some"}}},
        {"mask": {"rounded": {**ROUNDED, "keep": {"columns": "0.6", "rows": ">1"}}}},
        {"mask": {"rounded": {**ROUNDED, "per": "frame"}}},
        {"mask": {"table": {"name": "t"}}},
        {"mask": {"not": None}},
        {"mask": {"use": {"name": "radial", "params": {"decay": "1"}}}},
        {"order": "tiles"},
        {"order": {"tiles": [1, 2]}},
        {"params": {"w": {"type": "int"}}},
        {"params": {"w": {"type": "text", "default": 1}}},
        {"params": {"w": {"type": "int", "default": 1, "min": None}}},
        {"presets": {"p": {"w": [1]}}},
        {"let": {"x": [1]}},
        {"text": []},
        {"empty_rows": "fill"},
        {"paper": 2506},
    ],
    ids=str,
)
def test_a_broken_mask_does_not_fit(change: dict[str, Any]) -> None:
    document = {"name": "a", "mask": True}
    assert errors(SCHEMA, document) == []
    with pytest.raises(SpecError):
        parse_mask(document | change)
    assert errors(SCHEMA, document | change)


@pytest.mark.parametrize(
    "heads",
    [
        {"a-b": "radial"},
        {"0": 3},
        {"0": {"params": {}}},
        {"0": {"name": "radial", "dekay": 1}},
        {"0": {"name": "radial", "empty_rows": "fill"}},
        {"0": {"name": "inline", "mask": {"any": []}}},
    ],
    ids=str,
)
def test_a_broken_head_plan_does_not_fit(heads: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        parse_head_plan({"name": "p", "heads": heads})
    assert errors(SCHEMA, {"name": "p", "heads": heads})


def test_heads_are_numbers_in_yaml() -> None:
    document = yaml.safe_load("name: p\nheads: {0: dense, 1-2: {name: radial}}")
    assert list(document["heads"]) == [0, "1-2"]
    assert errors(SCHEMA, document) == []


def test_every_key_has_help() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for name, kind in SCHEMA["$defs"].items():
        for key, field in kind["properties"].items():
            assert field.get("description"), (name, key)
