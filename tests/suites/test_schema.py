"""The JSON Schema for editors says what the reader says."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from radialbench.errors import SuiteError
from radialbench.kernels.backends import BACKENDS
from radialbench.maskgen.grid import model_names
from radialbench.suites.read import LIBRARY, parse_suite, suite_names
from radialbench.suites.schema import json_schema
from tests.suites import small
from tests.suites.json_schema import errors

SCHEMA = json_schema()
RAW = {"frames": 1, "height": 1, "width": 1}


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_fit(name: str) -> None:
    assert errors(SCHEMA, yaml.safe_load((LIBRARY / f"{name}.yaml").read_text())) == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"exclude": {"mask": "radial", "max_tokens": 3}},
        {"exclude": [{"backend": "cpu", "max_tokens": 3}]},
        {"masks": [{"name": "radial", "params": {"decay": [0.5, 1]}, "label": "r"}]},
        {"masks": [{"name": "radial", "params": {"decay": 0.5}, "empty_rows": "keep"}]},
        {"grids": [{"model": "wan2.1-14b", "size": "832x480", "frames": [5, 9]}]},
        {"grids": [{"model": "wan2.1-14b", "size": ["832x480x5"]}, RAW]},
        {"backends": [{"name": "cpu", "block_m": 32}], "protocol": {"target": 0, "warmups": 0}},
        {"measure": "compile", "backends": None},
        {"gates": {"latency": "5%", "memory": "1%, 4MiB", "energy": False, "scaling": 0.1}},
    ],
)
def test_what_the_reader_takes_fits(fields: dict[str, Any]) -> None:
    text = small.text_of(lambda document: document["cases"][0].update(fields))
    parse_suite(text)
    assert errors(SCHEMA, yaml.safe_load(text)) == []


@pytest.mark.parametrize("text", ["extends: smoke", "include: smoke", "include: [smoke]"])
def test_a_suite_of_other_suites_fits(text: str) -> None:
    parse_suite(text)
    assert errors(SCHEMA, yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(casess=1),
        lambda d: d.pop("cases"),
        lambda d: d.update(cases=[]),
        lambda d: d.update(device="tpu"),
        lambda d: d.update(extends=["smoke"]),
        lambda d: d.update(include=[]),
        lambda d: d.update(include=3),
        lambda d: d.update(protocol={"cache": "hot"}),
        lambda d: d.update(gates={"speed": "5%"}),
        lambda d: d.update(gates={"latency": ["5%"]}),
        lambda d: d.update(name="a b"),
        lambda d: d.update(protocol={"target": 2}),
        lambda d: d.update(protocol={"max_seconds": 0}),
        lambda d: d["cases"][0].update(mask=1),
        lambda d: d["cases"][0].update(masks=[]),
        lambda d: d["cases"][0].update(heads=0),
        lambda d: d["cases"][0].update(heads=True),
        lambda d: d["cases"][0].update(dtype="float64"),
        lambda d: d["cases"][0].update(backends=["cpx"]),
        lambda d: d["cases"][0].update(grids=[{"frames": 0, "height": 3, "width": 5}]),
        lambda d: d["cases"][0].update(grids=[{"frames": 1, "height": 3}]),
        lambda d: d["cases"][0].update(masks=[{"name": "radial", "params": {"decay": "x"}}]),
    ],
)
def test_what_the_reader_refuses_does_not_fit(change: Callable[[dict[str, Any]], object]) -> None:
    text = small.text_of(change)
    with pytest.raises(SuiteError):
        parse_suite(text)
    assert errors(SCHEMA, yaml.safe_load(text))


def test_every_key_has_help() -> None:
    objects = [SCHEMA, *SCHEMA["$defs"].values()]
    for kind in objects:
        for key, field in kind["properties"].items():
            assert field.get("description"), key


def test_names_are_listed_for_editors() -> None:
    kinds = SCHEMA["$defs"]
    assert kinds["BackendChoice"]["properties"]["name"]["anyOf"][0]["enum"] == sorted(BACKENDS)
    assert kinds["ModelGrid"]["properties"]["model"]["enum"] == model_names()
