"""Recorded masks of published code reproduce bit for bit."""

import json
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests import golden

PUBLIC = Path(__file__).parent / "data" / "golden_public.json"
CASES: list[dict[str, Any]] = golden.read_cases(str(PUBLIC))
BY_KIND = defaultdict(list)
for case in CASES:
    BY_KIND[case["kind"]].append(case)


def one(kind: str, **params: Any) -> dict[str, Any]:
    """A copy of the first case of a kind with these parameters, to be spoilt."""
    found = (c for c in BY_KIND[kind] if params.items() <= c["params"].items() and "outputs" in c)
    return deepcopy(next(found))


def write(tmp_path: Path, document: Any) -> str:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", golden.KINDS)
def test_recorded_masks(kind: str) -> None:
    wrong = {case["id"]: found for case in BY_KIND[kind] if (found := golden.differences(case))}
    assert not wrong


def test_all_cases_are_looked_at() -> None:
    assert len(CASES) == 279
    assert set(BY_KIND) == set(golden.KINDS)
    assert sum(case.get("expect") == "reference_error" for case in CASES) == 7


def small(tmp_path: Path, *changed: dict[str, Any]) -> str:
    cases = [one("radial_paper"), one("svg_width"), one("sta_perm"), one("natten2d"), *changed]
    return write(tmp_path, {"schema": golden.SCHEMA, "cases": cases})


def test_main_counts_matches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([small(tmp_path)]) == 0
    assert capsys.readouterr().out == "matched 4 of 4\n"


def test_main_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    radial, perm, width = one("radial", variant="first"), one("sta_perm"), one("svg_width")
    radial["params"]["variant"] = "head"
    perm["params"]["tile"] = [5, 8, 8]
    width["outputs"]["width_frames"] += 1e-6
    assert golden.main([small(tmp_path, radial, perm, width)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [radial["id"], perm["id"], width["id"]]
    assert lines[-1] == "matched 4 of 7"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c["outputs"]["any"].update(nnz=1), "any: 10 entries instead of 1"),
        (lambda c: c["outputs"]["any"].update(sha256="0"), "any: another hash"),
        (lambda c: c["outputs"]["any"].update(shape=[2, 7]), "any: shape [4, 4] instead of [2, 7]"),
        (lambda c: c["outputs"].update(more=c["outputs"]["any"]), "more: not made"),
        (lambda c: c["outputs"]["any"]["bits"].update(data="AAAAAAA="), "any: 10 entries differ"),
        (lambda c: c["stats"].update(token_nnz=5), "pairs: "),
        (lambda c: c.update(kind="natten4d"), "unknown kind 'natten4d'"),
        (lambda c: c.pop("params"), "KeyError: 'params'"),
        (lambda c: c["params"].pop("canvas_w"), "KeyError: 'canvas_w'"),
        (lambda c: c["params"].update(kernel_w=0), "SpecError: neighborhood_gym.kernel_w must be"),
    ],
)
def test_a_spoilt_case_is_a_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, message: str
) -> None:
    case = one("natten2d", kernel_w=5)
    spoil(case)
    assert golden.main([write(tmp_path, {"schema": golden.SCHEMA, "cases": [case]})]) == 1
    out = capsys.readouterr().out
    assert message in out
    assert out.startswith(case["id"]) and out.endswith("matched 0 of 1\n")


def test_the_csr_of_the_video_is_compared() -> None:
    case = next(deepcopy(c) for c in BY_KIND["radial"] if "csr_video" in c)
    assert not golden.differences(case)
    case["csr_video"]["indices_sha256"] = "0"
    assert golden.differences(case) == ["csr_video: other rows or columns"]


def test_cases_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, {"schema": golden.SCHEMA, "cases": [None, {}, one("svg_perm")]})
    assert golden.main([path]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["case 1", "case 2", "matched 1 of 3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "golden.json: not a JSON file"),
        (b"\xff\xfe\x00", "golden.json: not a JSON file"),
        (b"[" * 100_000, "golden.json: not a JSON file"),
        (b"[]", "golden.json: not a file of schema radialbench-golden/1 with cases"),
        (b"{}", "golden.json: not a file of schema radialbench-golden/1 with cases"),
        (b'{"schema": "other/1", "cases": []}', "not a file of schema radialbench-golden/1"),
        (b'{"schema": "radialbench-golden/1"}', "not a file of schema radialbench-golden/1"),
    ],
)
def test_foreign_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "golden.json"
    path.write_bytes(content)
    assert golden.main([str(path)]) == 2
    assert message in capsys.readouterr().out


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([str(tmp_path / "none.json")]) == 2
    assert "none.json: No such file or directory" in capsys.readouterr().out
    assert golden.main([str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().out
    assert golden.main([]) == 2
    assert capsys.readouterr().out == "usage: python -m tests.golden FILE\n"
