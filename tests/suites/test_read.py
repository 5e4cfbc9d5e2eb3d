"""A suite file that is wrong is told where, what was given, and what to try."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radialbench.errors import SuiteError
from radialbench.suites.entries import MaskChoice
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite, parse_suite, suite_names
from radialbench.suites.schema import Protocol
from tests.suites import small

Change = Callable[[dict[str, Any]], object]

MODEL = {"model": "wan2.1-14b", "size": "1280x720x81"}
RAW = {"frames": 2, "height": 3, "width": 5}


def told(text: str) -> str:
    with pytest.raises(SuiteError) as error:
        plan(parse_suite(text, "s.yaml"))
    return str(error.value)


def document(**fields: object) -> Change:
    return lambda document: document.update(fields)


def entry(**fields: object) -> Change:
    return lambda document: document["cases"][0].update(fields)


def grid(**fields: object) -> Change:
    return entry(grids=[RAW | fields])


def model(**fields: object) -> Change:
    return entry(grids=[MODEL | fields])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (document(casess=1), ":22:1: suite: unknown key 'casess'; did you mean 'cases'?"),
        (entry(mask=1), ":22:3: cases[0]: unknown key 'mask'; did you mean 'masks'?"),
        (
            grid(heightt=3),
            ":13:5: cases[0].grids[0]: unknown key 'heightt'; did you mean 'height'?",
        ),
        (model(sizes="x"), ":12:5: cases[0].grids[0]: unknown key 'sizes'; did you mean 'size'?"),
        (
            document(protocol={"max_secs": 1}),
            ":4:3: protocol: unknown key 'max_secs'; did you mean",
        ),
        (lambda d: d.pop("cases"), ":1:1: suite: needs cases, or another suite's by extends or"),
        (document(cases=[]), ":5:1: cases: must not be empty"),
        (document(cases=None), ":5:1: cases: must be a list, got nothing"),
        (entry(masks=[]), ":6:3: cases[0].masks: must not be empty"),
        (entry(grids=[]), ":9:3: cases[0].grids: must not be empty"),
        (entry(backends=[]), ":18:3: cases[0].backends: must not be empty"),
        (grid(frames=[]), ":10:5: cases[0].grids[0].frames: must not be empty"),
        (grid(frames=[2, 0]), ":12:7: cases[0].grids[0].frames[1]: must be greater than or equal"),
        (
            grid(queries="1-2"),
            ":10:5: cases[0].grids[0]: queries are frames from 0 to 1, the",
        ),
        (grid(queries="0-0,1-1"), ":10:5: cases[0].grids[0]: queries are one range of frames, f"),
        (
            entry(grids=[{"segments": {"text": 3}}]),
            "cases[0].grids[0]: one segment is the video, of frames×rows×columns, and is named so",
        ),
        (
            entry(grids=[{"segments": {"video": "2x3x5", "audio": "a"}}]),
            "cases[0].grids[0]: audio: a segment is frames×rows×columns of a video, such as 13x30",
        ),
        (
            entry(grids=[{"segments": {"video": "2x3x5"}, "frames": 3}]),
            "cases[0].grids[0]: unknown key 'frames'",
        ),
        (grid(queries=1), ":13:5: cases[0].grids[0].queries: must be text, got 1"),
        (grid(height=-3), ":11:5: cases[0].grids[0].height: must be greater than or equal to 1"),
        (grid(text_tokens=-1), ":13:5: cases[0].grids[0].text_tokens: must be greater than or eq"),
        (grid(frames=2**31 - 1), "a sequence has at most 2^31 - 1 tokens, got 32,212,254,705"),
        (entry(heads=-1), ":15:3: cases[0].heads: must be greater than or equal to 1, got -1"),
        (entry(heads=1.5), ":15:3: cases[0].heads: must be a whole number, got 1.5"),
        (entry(heads=True), ":15:3: cases[0].heads: must be a whole number, got True"),
        (entry(heads="two"), ":15:3: cases[0].heads: must be a whole number, got 'two'"),
        (entry(heads=2**40), ":15:3: cases[0].heads: must be less than or equal to 2147483647"),
        (entry(block_m=0), ":20:3: cases[0].block_m: must be greater than or equal to 1, got 0"),
        (
            entry(dtype="float64"),
            "dtype: must be 'float32', 'float16' or 'bfloat16', got 'float64'",
        ),
        (entry(masks=["radail"]), ":7:5: cases[0].masks[0]: unknown mask 'radail'; did you mean '"),
        (entry(masks=[3]), ":7:5: cases[0].masks[0]: must be a mapping of keys to values, got 3"),
        (entry(masks=["../m.yaml"]), "a suite uses masks in its own folder, got '../m.yaml'"),
        (entry(masks=["m.yaml"]), "cannot read m.yaml: No such file or directory"),
        (
            entry(masks=[{"name": "radial", "params": {"decya": 1}}]),
            ":7:5: cases[0].masks[0]: unknown parameter of radial 'decya'; did you mean 'decay'?",
        ),
        (entry(masks=[{"name": "radial", "params": {"decay": -1}}]), "radial.decay must be in (0"),
        (
            entry(masks=[{"name": "radial", "params": {"decay": [1 + i for i in range(1001)]}}]),
            ":9:7: cases[0].masks[0].params.decay: at most 1,000 entries, got more",
        ),
        (
            entry(masks=[{"name": "radial", "label": "a b"}]),
            ":8:5: cases[0].masks[0].label: must be letters, digits and _ . , : = + - without",
        ),
        (
            entry(masks=["radial_or_table"]),
            "radial_or_table needs the table 'selected': give its file beside the name, as",
        ),
        (
            entry(masks=[{"name": "radial_or_table", "tables": {"selected": "missing.npy"}}]),
            "cases[0].masks[0]: cannot read table 'selected': missing.npy: No such file",
        ),
        (
            entry(masks=[{"name": "radial_or_table", "tables": {"selected": "../a.npy"}}]),
            "cases[0].masks[0]: a suite uses tables in its own folder, got '../a.npy'",
        ),
        (entry(backends=["cpx"]), ":19:5: cases[0].backends[0]: unknown backend 'cpx'; did you m"),
        (entry(backends=None), ":6:3: cases[0]: attention needs backends, such as [cpu]"),
        (entry(measure="compile"), ":6:3: cases[0]: compile has no backends: masks are compiled"),
        (lambda d: d["cases"][0].pop("heads"), "needs heads: grids given in tokens belong to no"),
        (entry(kv_heads=3), ":6:3: cases[0]: kv_heads must divide the 2 heads, got 3"),
        (model(size="1280x721x81"), "height 721 must be a multiple of 16, such as 720 or 736"),
        (model(size="0x0x0"), "a size is width×height×frames, such as 1280x720x81, got '0x0x0'"),
        (model(size="big"), "a size is width×height×frames, such as 832x480x81, got 'big'"),
        (model(frames=[33]), "frames are given once: in the size (1280x720x81), as 'frames', or"),
        (model(model="wan2.1-15b"), "unknown model 'wan2.1-15b'; did you mean 'wan2.1-14b'?"),
        (
            model(size=[f"{16 * i}x16" for i in range(1, 40)], latent_frames=list(range(1, 30))),
            ":10:5: cases[0].grids[0]: a sweep has at most 1,000 grids, got 1,131",
        ),
        (
            entry(
                masks=[
                    {
                        "name": "sliding_window",
                        "params": {"window": list(range(1, 40)), "sink": list(range(30))},
                    }
                ]
            ),
            ":7:5: cases[0].masks[0]: a sweep has at most 1,000 masks, got 1,170",
        ),
        (
            entry(protocol={"min_samples": 9, "max_samples": 3}),
            ":22:3: cases[0].protocol: min_samples (9) is more than max_samples (3)",
        ),
        (
            entry(protocol={"min_seconds": 2, "max_seconds": 0.5}),
            ":22:3: cases[0].protocol: min_seconds (2) is more than max_seconds (0.5)",
        ),
        (entry(protocol={"max_seconds": 0}), ":23:5: cases[0].protocol.max_seconds: must be great"),
        (
            entry(gates={"latency": 5}),
            ":23:5: cases[0].gates.latency: a gate of latency is 5%",
        ),
        (entry(gates={"speed": "5%"}), ":23:5: cases[0].gates: unknown key 'speed'"),
        (entry(protocol={"target": 2}), ":23:5: cases[0].protocol.target: must be less than or eq"),
        (
            entry(protocol={"max_seconds": float("nan")}),
            "max_seconds: must be a finite number, got",
        ),
        (entry(exclude=[{}]), ":23:5: cases[0].exclude[0]: names at least one of mask, backend"),
        (entry(exclude=[{"mask": "*"}]), "s.yaml: cases[0]: its exclude rules leave no case"),
        (
            entry(masks=["dense", "dense"]),
            "s.yaml: case dense/2x3x5/h2d8f32/cpu@16x16 is planned tw",
        ),
        (document(name="a/b"), ":1:1: name: must be letters, digits and _ . , : = + - without sp"),
        (document(device="tpu"), ":2:1: device: must be 'auto', 'cpu' or 'cuda', got 'tpu'"),
    ],
)
def test_a_suite_that_is_wrong(change: Change, message: str) -> None:
    text = told(small.text_of(change))
    assert text.startswith("s.yaml:")
    assert message in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml: empty; a suite has at least 'cases'"),
        ("hello", "s.yaml:1:1: suite: must be a mapping of keys to values, got 'hello'"),
        ("- 1\n- 2\n", "s.yaml:1:1: suite: must be a mapping of keys to values, got a list"),
        ("cases: [1, 2\n", "s.yaml:2:1: not YAML: expected ',' or ']'"),
        ("cases:\n\t- 1\n", "s.yaml:2:1: not YAML: found character '\\t'"),
        ("cases: []\ncases: []\n", "s.yaml:2:1: key 'cases' appears twice"),
        ("cases: []\n---\ncases: []\n", "s.yaml:2:1: not YAML: but found another document"),
        ("cases: !!python/object:os.system [1]\n", "s.yaml:1:8: tags are not supported"),
        ("cases: " + "[" * 100 + "]" * 100, "s.yaml:1:38: nested more than 30 deep"),
        ("#" * 70_000, "s.yaml: longer than 64,000 characters"),
    ],
)
def test_a_document_that_is_none(text: str, message: str) -> None:
    assert told(text).startswith(message)


def test_aliases_that_explode_are_refused_at_once() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        names = ", ".join([f"*l{level - 1}"] * 10)
        lines.append(f"l{level}: &l{level} [{names}]")
    # Where the first is: nothing after it is looked at.
    message = "s.yaml:1:5: anchors and aliases are not supported; write the value out"
    assert told("\n".join(lines)) == message


def test_many_errors_are_not_all_shown() -> None:
    text = told(small.text_of(entry(**{f"unknown{place}": 1 for place in range(3)}, masks=[])))
    assert len(text.splitlines()) == 1
    masks = [f"no_such_mask_{place}" for place in range(9)]
    lines = told(small.text_of(entry(masks=masks))).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "… and 4 more"


def test_an_unknown_suite_is_named_with_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="unknown suite 'smok'; did you mean 'smoke'"):
        load_suite("smok")


def test_a_suite_file_without_the_ending_is_hinted_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text(small.text_of())
    with pytest.raises(SuiteError, match=r"A file's name ends in \.yaml\.$"):
        load_suite("mine")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"cannot read .*none.yaml: No such file or directory"):
        load_suite(str(tmp_path / "none.yaml"))
    with pytest.raises(SuiteError, match="cannot read .*: Is a directory"):
        load_suite(f"{tmp_path}/")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80" * 9)
    with pytest.raises(SuiteError, match=r"cannot read .*binary.yaml: not a text file in UTF-8"):
        load_suite(str(tmp_path / "binary.yaml"))
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SuiteError, match=r"cannot read .*pipe.yaml: it is a pipe"):
        load_suite(str(tmp_path / "pipe.yaml"))
    with pytest.raises(SuiteError, match="cannot read /dev/zero: it is a device"):
        load_suite("/dev/zero")


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = small.written(tmp_path)
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(SuiteError, match=r"cannot read .*: Permission denied"):
            load_suite(str(path))
    finally:
        os.seteuid(me)


def test_a_suite_is_named_after_its_file_unless_it_says(tmp_path: Path) -> None:
    assert load_suite(str(small.written(tmp_path))).name == "small"
    path = tmp_path / "mine.yaml"
    path.write_text(small.text_of(lambda d: d.pop("name")))
    assert load_suite(str(path)).name == "mine"


def test_masks_are_found_beside_the_suite(tmp_path: Path) -> None:
    (tmp_path / "band.yaml").write_text("name: band\nmask: dt <= 1\n")
    path = small.written(tmp_path, small.text_of(entry(masks=["band.yaml"])))
    assert {case.id.split("/")[0] for case in plan(load_suite(str(path)))} == {"band"}


def test_tables_are_found_beside_the_suite_and_swept(tmp_path: Path) -> None:
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.full((2, 2), number > 0))
    mask: dict[str, Any] = {"name": "radial_or_table", "params": {"block": 16}}
    mask |= {"tables": {"selected": ["0.npy", "1.npy"]}}

    def choices(frames: int = 2, **fields: str) -> list[MaskChoice]:
        grids = [{"frames": frames, "height": 3, "width": 5}]
        text = small.text_of(entry(masks=[mask | fields], grids=grids))
        spec = parse_suite(text, folder=tmp_path)
        return [choice for one in spec.cases[0].masks for choice in one.choices()]

    found = choices()
    names = [f"radial_or_table(block=16, selected={number}.npy)" for number in range(2)]
    assert [choice.id for choice in found] == names
    assert len({choice.spec.fingerprint for choice in found}) == 2
    labelled = [choice.id for choice in choices(label="mine")]
    assert labelled == ["mine(selected=0.npy)", "mine(selected=1.npy)"]
    with pytest.raises(SuiteError) as error:
        choices(frames=3)
    assert "table 'selected' (0.npy) must be bool [3, 3] (blocks of 16 tokens)" in str(error.value)


def protocol(suite: dict[str, float], own: dict[str, float]) -> Protocol:
    def change(document: dict[str, Any]) -> None:
        document["protocol"] = suite
        document["cases"][0]["protocol"] = own

    return small.suite(change).cases[0].protocol


def test_what_a_protocol_does_not_say_comes_from_the_suite_then_from_the_defaults() -> None:
    merged = protocol({"max_seconds": 3, "target": 0.1}, {"max_seconds": 7})
    assert merged == Protocol(max_seconds=7, target=0.1)
    assert protocol({}, {}) == Protocol()


def test_bounds_that_are_not_said_give_way() -> None:
    assert protocol({"min_samples": 50, "max_samples": 60}, {"max_samples": 20}) == Protocol(
        min_samples=20, max_samples=20
    )
    assert protocol({"max_samples": 3}, {"min_samples": 200}) == Protocol(
        min_samples=200, max_samples=200
    )
    assert protocol({}, {"max_seconds": 0.2}) == Protocol(min_seconds=0.2, max_seconds=0.2)
    assert protocol({"max_seconds": 3}, {"min_seconds": 5}) == Protocol(
        min_seconds=5, max_seconds=5
    )


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_say_what_they_are_for(name: str) -> None:
    spec = load_suite(name)
    assert spec.name == name
    assert len(spec.description) > 40
    assert spec.tags


def put(folder: Path, **files: str) -> None:
    """Write suite files into a folder."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


MATRIX = (
    "{{masks: [{0}], grids: [{{frames: 2, height: 3, width: 5}}], heads: 1, head_dim: 8, "
    "backends: [cpu]}}"
)
BASE = f"""\
description: The base.
tags: [cpu]
device: cpu
protocol: {{warmups: 4, max_seconds: 3}}
cases:
  - {MATRIX.format("dense")}
  - {MATRIX.format("sta")[:-1]}, protocol: {{warmups: 5}}}}
"""


def masks(folder: Path, name: str) -> list[str]:
    """Give the masks of a suite's cases, in order."""
    cases = plan(load_suite(str(folder / f"{name}.yaml")))
    return [case.id.split("/")[0] for case in cases]


def test_a_suite_that_extends_another_is_like_it_but_for_what_it_says(tmp_path: Path) -> None:
    own = f"extends: base.yaml\nprotocol: {{max_seconds: 9}}\ncases: [{MATRIX.format('radial')}]\n"
    put(tmp_path, base=BASE, own=own)
    spec = load_suite(str(tmp_path / "own.yaml"))
    assert (spec.name, spec.description, spec.tags) == ("own", "The base.", ("cpu",))
    assert spec.device == "cpu"
    assert masks(tmp_path, "own") == ["dense", "sta", "radial"]
    first, second, third = (matrix.protocol for matrix in spec.cases)
    assert first == third == Protocol(warmups=4, max_seconds=9)
    assert second == Protocol(warmups=5, max_seconds=9)


def test_gates_come_from_the_matrix_then_from_the_last_of_the_line(tmp_path: Path) -> None:
    gated = BASE.replace("warmups: 5}}", "warmups: 5}, gates: {energy: off}}")
    own = f"extends: base.yaml\ngates: {{latency: 5%}}\ncases: [{MATRIX.format('radial')}]\n"
    put(tmp_path, base=f"{gated}gates: {{latency: 3%, scaling: 0.1}}\n", own=own)
    base, spec = (load_suite(str(tmp_path / f"{name}.yaml")) for name in ("base", "own"))
    assert [matrix.gates.stated for matrix in base.cases] == [
        ("latency=3%", "scaling=0.1"), ("energy=off", "latency=3%", "scaling=0.1")
    ]  # fmt: skip
    assert [matrix.gates.stated for matrix in spec.cases] == [
        ("latency=5%", "scaling=0.1"),
        ("energy=off", "latency=5%", "scaling=0.1"),
        ("latency=5%", "scaling=0.1"),
    ]


def test_suites_extend_one_another_in_a_line(tmp_path: Path) -> None:
    put(
        tmp_path,
        base=BASE,
        middle="extends: base.yaml\ntags: [own]\nprotocol: {warmups: 6, max_seconds: 7}\n",
        top="extends: middle.yaml\ndevice: auto\nprotocol: {max_seconds: 8}\n",
    )
    spec = load_suite(str(tmp_path / "top.yaml"))
    assert (spec.device, spec.tags) == ("auto", ("own",))
    assert spec.cases[0].protocol == Protocol(warmups=6, max_seconds=8)
    assert load_suite(str(tmp_path / "base.yaml")).cases[0].protocol.warmups == 4


def test_a_suite_that_includes_others_takes_their_cases_as_they_are(tmp_path: Path) -> None:
    own = (
        f"include: [base.yaml, more.yaml]\nprotocol: {{warmups: 9}}\n"
        f"cases: [{MATRIX.format('radial')}]\n"
    )
    more = f"cases: [{MATRIX.format('svg_spatial')}]\n"
    put(tmp_path, base=BASE, more=more, own=own)
    spec = load_suite(str(tmp_path / "own.yaml"))
    assert (spec.description, spec.tags, spec.device) == ("", (), "cpu")
    assert masks(tmp_path, "own") == ["dense", "sta", "svg_spatial", "radial"]
    assert [matrix.protocol.warmups for matrix in spec.cases] == [4, 5, 1, 9]


def test_shipped_suites_are_extended_and_included_by_name() -> None:
    smoke = {case.id for case in plan(load_suite("smoke"))}
    assert {case.id for case in plan(parse_suite("extends: smoke"))} == smoke
    assert {case.id for case in plan(parse_suite("include: smoke"))} == smoke
    both = parse_suite("include: [wan, mochi]")
    assert both.device == "cuda"
    assert len(plan(both)) == len(plan(load_suite("wan"))) + len(plan(load_suite("mochi")))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"own": "extends: own.yaml"}, "own.yaml:1:1: extends: the suite leads back to itself: "),
        (
            {"own": "include: [a.yaml]", "a": "extends: b.yaml", "b": "include: a.yaml"},
            "own.yaml:1:11: include[0]: {0}/a.yaml:1:1: extends: {0}/b.yaml:1:1: include: the suite"
            " leads back to itself: {0}/own.yaml → {0}/a.yaml → {0}/b.yaml → {0}/a.yaml",
        ),
        (
            {"own": "extends: base.yaml\ninclude:\n  - base.yaml", "base": BASE},
            "own.yaml:3:5: include[0]: 'base.yaml' is used twice, and would plan its cases twice",
        ),
        ({"own": "extends: smok"}, "own.yaml:1:1: extends: unknown suite 'smok'; did you mean 's"),
        ({"own": "extends: no.yaml"}, "extends: cannot read {0}/no.yaml: No such file or directo"),
        ({"own": "extends: ../no.yaml"}, "a suite uses suites in its own folder, got '../no.yaml'"),
        ({"own": "extends: /dev/zero"}, "a suite uses suites in its own folder, got '/dev/zero'"),
        ({"own": "extends: 3"}, "own.yaml:1:1: extends: must be text, got 3"),
        ({"own": "include: []"}, "own.yaml:1:1: include: must not be empty"),
        (
            {"own": "extends: bad.yaml", "bad": "cases: 3"},
            "own.yaml:1:1: extends: {0}/bad.yaml:1:1: cases: must be a list, got 3",
        ),
        (
            {"own": "include: base.yaml\ndevice: cuda", "base": BASE},
            "own.yaml:1:1: include: base.yaml asks for device 'cpu', and the suite for 'cuda'; a",
        ),
        ({"own": "include: [wan, smoke]"}, "include[1]: smoke asks for device 'cpu', and the sui"),
        (
            {"own": f"extends: base.yaml\ncases: [{MATRIX.format('sta')}]", "base": BASE},
            "is planned twice, in cases[1] of base.yaml and cases[0]; remove one",
        ),
        (
            {
                "own": "include: a.yaml",
                "a": f"cases: [{MATRIX.format('sta')[:-1]}, exclude: {{mask: s*}}}}]",
            },
            "own.yaml: cases[0] of a.yaml: its exclude rules leave no case",
        ),
    ],
)
def test_other_suites_that_cannot_be_used(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    put(tmp_path, **files)
    with pytest.raises(SuiteError) as error:
        plan(load_suite(str(tmp_path / "own.yaml")))
    text = str(error.value)
    assert text.startswith(f"{tmp_path}/own.yaml:")
    assert message.format(tmp_path) in text


def test_the_state_of_the_cache_is_cold_unless_said() -> None:
    assert small.suite().cases[0].protocol.cache == "cold"
    assert small.suite(document(protocol={"cache": "warm"})).cases[0].protocol.cache == "warm"
    assert ":4:3: protocol.cache: must be 'cold' or 'warm', got 'hot'" in told(
        small.text_of(document(protocol={"cache": "hot"}))
    )
