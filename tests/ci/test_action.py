"""The GitHub action: its steps run as the runner would, for every way a check can end."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from radialbench.records.store import RESULTS
from radialbench.records.store import read as read_results
from tests.ci.conftest import case, git
from tests.ci.runner import ROOT, act, read
from tests.reports.factory import elsewhere

Results = Callable[..., Path]

ACTION = read("action.yml")


def test_every_input_is_used_and_nothing_given_is_run_as_code() -> None:
    steps = ACTION["runs"]["steps"]
    used = [text for step in steps for text in step["env"].values()]
    assert {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]} <= set(used)
    for step in steps:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


@pytest.mark.parametrize(
    ("factor", "calls", "inconclusive", "code", "exit_code", "level"),
    [
        (1.0, 60, "warn", 0, "0", ""),
        (1.08, 60, "warn", 1, "1", "::error title=regressed"),
        (1.0, 3, "warn", 0, "3", "::warning title=radialbench::"),
        (1.0, 3, "fail", 3, "3", "::warning title=inconclusive"),
    ],
)
def test_results_are_checked(
    factor: float,
    calls: int,
    inconclusive: str,
    code: int,
    exit_code: str,
    level: str,
    results: Results,
    tmp_path: Path,
) -> None:
    results("before", case("a"), case("b"))
    results("now", case("a", factor, calls), case("b"))
    given = {"results": "now", "baseline": f"before/{RESULTS}", "inconclusive": inconclusive}
    job = act(given, tmp_path / "temp", tmp_path)
    assert (job.code, job.outputs["exit-code"]) == (code, exit_code)
    assert level in job.log
    assert ("::" in job.log) == bool(level)
    files = Path(job.outputs["files"])
    assert (files / "check.md").read_text(encoding="utf-8") == job.summary
    assert "2 cases, 6 verdicts: " in job.summary
    assert (files / "check.sarif").exists()
    assert ElementTree.parse(files / "check.xml").getroot().get("tests") == "6"


def test_options_are_words(results: Results, tmp_path: Path) -> None:
    results("before", case("a"))
    results("now", case("a", 1.08))
    (tmp_path / "gates.yaml").write_text("latency: 5%\n")
    given = {"results": "now", "baseline": "before"}
    options = "--gates gates.yaml\n--gate latency=10%\n"
    assert act(given | {"options": options}, tmp_path / "temp", tmp_path).code == 0


def test_a_runner_that_changed_is_a_warning_where_that_is_allowed(
    results: Results, tmp_path: Path
) -> None:
    results("before", *elsewhere([case("a")], device="Other GPU"))
    results("now", case("a"))
    given = {"results": "now", "baseline": "before"}
    assert act(given, tmp_path / "refused", tmp_path).code == 2
    job = act(given | {"options": "--across-machines"}, tmp_path / "allowed", tmp_path)
    assert (job.code, job.outputs["exit-code"]) == (0, "3")
    assert "measured on another machine (device: Other GPU and Example GPU)" in job.log


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"baseline": "gone"}, "there is no baseline gone"),
        ({"results": "gone"}, "there are no results at gone"),
        ({"options": "--gate x=1%"}, "unknown metric 'x'"),
        ({"offline": "yes"}, "::error title=radialbench::offline is true or false, got yes"),
    ],
)
def test_bad_input_is_2(wrong: dict[str, str], why: str, results: Results, tmp_path: Path) -> None:
    results("now", case("a"))
    job = act({"results": "now", "baseline": "now"} | wrong, tmp_path / "temp", tmp_path)
    assert job.code == 2
    assert why in job.log
    assert "::error title=radialbench::" in job.log
    assert "Traceback" not in job.log
    assert not job.summary


@pytest.mark.parametrize("gpu", [False, True])
def test_what_is_installed(gpu: bool, results: Results, tmp_path: Path) -> None:
    results("now", case("a"))
    job = act({"results": "now", "baseline": "now"}, tmp_path / "temp", tmp_path, gpu=gpu)
    assert job.code == 0
    *torch, package = job.asked.splitlines()
    assert package.split()[-1] == str(ROOT)
    assert "index" not in package
    assert len(torch) == (not gpu)
    for line in torch:
        constraints = f"--constraint {ROOT / 'constraints.txt'}"
        index = "--index-url https://download.pytorch.org/whl/cpu"
        assert line.endswith(f"{constraints} --no-deps {index} torch")
    assert (ROOT / "constraints.txt").exists()


def test_masks_of_the_last_commit_are_compiled_and_compared(
    repository: Path, tmp_path: Path
) -> None:
    job = act({"suite": "small.yaml", "offline": "true"}, tmp_path / "temp", repository)
    assert (job.code, job.outputs["exit-code"]) == (1, "1")
    assert "::error title=regressed" in job.log
    assert "other pairs attend" in job.summary
    assert [path.name for path in repository.parent.rglob("tree")] == []
    git(repository, "commit", "--allow-empty", "--quiet", "-m", "nothing")
    job = act({"suite": "small.yaml", "offline": "true"}, tmp_path / "again", repository)
    assert job.code == 0
    assert "1 pass" in job.summary


def test_a_new_suite_passes_and_a_short_clone_is_told(repository: Path, tmp_path: Path) -> None:
    (repository / "new.yaml").write_bytes((repository / "small.yaml").read_bytes())
    job = act({"suite": "new.yaml", "offline": "true"}, tmp_path / "temp", repository)
    assert job.code == 0
    assert "::notice title=radialbench::new.yaml is new" in job.log
    given = {"suite": "small.yaml", "offline": "true", "against": "HEAD~9"}
    job = act(given, tmp_path / "deep", repository)
    assert job.code == 2
    assert "there is no commit HEAD~9 here" in job.log


def test_a_suite_is_measured(suite: Path, measured: Path, tmp_path: Path) -> None:
    given = {"suite": str(suite), "baseline": str(measured)}
    job = act(given, tmp_path / "temp", tmp_path)
    assert (job.code, job.outputs["exit-code"]) == (0, "3"), job.log
    records = read_results(Path(job.outputs["files"]) / "now" / RESULTS).records
    assert len(records) == 4
