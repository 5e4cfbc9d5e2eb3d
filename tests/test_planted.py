"""What benchmarks/planted.py plants fits the kernels as they are, and is judged as it says."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import planted
from benchmarks.planted import PLANTS, Edit, Plant, Repository, repository
from radialbench.records.store import write_whole
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from tests.test_noise import flat, made


@pytest.mark.parametrize("one", PLANTS, ids=lambda one: one.name)
def test_plants_fit_the_kernels(one: Plant) -> None:
    with repository() as found:
        before = {edit.path: _text(found, edit.path) for edit in one.edits}
        found.plant(one)
        for path, text in before.items():
            assert _text(found, path) != text
            ast.parse(_text(found, path))
        told = found.git("log", "--format=%s")
        changed = found.git("diff", "--name-only", "HEAD~1")
    assert told.split("\n") == [one.name, "as it is"]
    assert changed.split() == sorted(f"radialbench/{path}" for path in before)


def _text(found: Repository, path: str) -> str:
    return (found.package / path).read_text(encoding="utf-8")


def test_every_kernel_is_slowed_down_and_some_plant_leaves_one_alone() -> None:
    kernels = {case.backend for case in plan(load_suite(str(planted.SUITE)))}
    assert {name for one in PLANTS for name in one.backends} == kernels == {"hopper", "triton"}
    assert any(set(one.backends) < kernels for one in PLANTS)


@pytest.mark.parametrize(("old", "count"), [("no such text", 0), ("a", 3)])
def test_a_text_that_is_not_there_once_is_not_planted(tmp_path: Path, old: str, count: int) -> None:
    package = tmp_path / "radialbench"
    package.mkdir()
    (package / "a.py").write_text("a = a + a\n", encoding="utf-8")
    edit = Edit("a.py", old, "b")
    with repository(package) as found, pytest.raises(SystemExit, match=f" {count} times, not once"):
        found.plant(Plant("none", (), (edit,)))


def test_a_check_must_name_what_was_planted_and_nothing_else() -> None:
    slow = {"case": "radial/13x30x52/h12d128bf16/hopper", "metric": "latency"}
    slow |= {"outcome": "regressed"}
    other = slow | {"case": "radial/13x30x52/h12d128bf16/triton", "outcome": "pass"}
    one = Plant("one", ("hopper",), ())
    assert planted._wrongly_named(one, [slow, other]) == ""
    for wrong in ([other], [slow, other | {"outcome": "regressed"}], [slow | {"metric": "status"}]):
        assert "planted was ['hopper']" in planted._wrongly_named(one, wrong)


def test_equal_runs_pass_and_a_slower_one_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = made(4, runs=3, times_ms=(1.0,))
    assert planted.equal(runs[:2]) == [0]
    (last,) = runs[2]
    assert last.timing is not None
    times = tuple(1.1 * ms for ms in last.timing.samples_ms)
    slower = (replace(last, timing=replace(last.timing, samples_ms=times)),)
    path = tmp_path / "noise.jsonl"
    write_whole(path, flat([runs[1], slower]))
    assert not planted._tell_equal(path)
    told = capsys.readouterr().out
    assert "equal code, as recorded: 0 of 1 pass" in told
    assert "slower" in told
