"""The GitLab template: its jobs run as a runner would, and exit as `allow_failure` reads them."""

from pathlib import Path
from typing import Any

import pytest

from radialbench.records.store import RESULTS
from tests.ci.runner import read, run_script, tools

TEMPLATE = read("ci/gitlab.yml")
SOURCE = "git+https://example.org/radialbench@0123abc"


def job(name: str) -> dict[str, Any]:
    """Give a job with what it extends."""
    own = TEMPLATE[name]
    whole: dict[str, Any] = TEMPLATE[own["extends"]] | own
    return whole


def run(name: str, folder: Path, workspace: Path, **variables: str) -> tuple[int, str]:
    """Run a job of the template with the variables that a team sets."""
    found = job(name)
    unknown = set(variables) - set(found["variables"])
    assert not unknown, unknown
    given = {"RADIALBENCH": SOURCE} | variables
    env = tools(folder) | {"TMPDIR": str(folder)} | found["variables"] | given
    script = "\n".join([*found["before_script"], *found["script"]])
    return run_script(script, env, workspace)


@pytest.mark.parametrize("name", [".radialbench-measured", ".radialbench-offline"])
def test_what_cannot_be_told_is_a_warning(name: str) -> None:
    found = job(name)
    assert found["allow_failure"] == {"exit_codes": "3"}
    assert found["artifacts"]["when"] == "always"
    assert found["artifacts"]["paths"] == [".radialbench"]


def test_a_suite_is_measured(suite: Path, measured: Path, tmp_path: Path) -> None:
    given = {"RADIALBENCH_SUITE": str(suite), "RADIALBENCH_BASELINE": str(measured)}
    code, log = run(".radialbench-measured", tmp_path / "temp", tmp_path, **given)
    assert code == 3, log
    files = tmp_path / ".radialbench"
    assert (files / "now" / RESULTS).exists()
    report = job(".radialbench-measured")["artifacts"]["reports"]["junit"]
    for name in ("check.md", "check.json", report.removeprefix(".radialbench/")):
        assert (files / name).exists()


def test_a_missing_baseline_is_told_before_anything_is_measured(
    suite: Path, tmp_path: Path
) -> None:
    given = {"RADIALBENCH_SUITE": str(suite), "RADIALBENCH_BASELINE": "gone"}
    code, log = run(".radialbench-measured", tmp_path / "temp", tmp_path, **given)
    assert code == 2
    assert log == "radialbench: there is no baseline gone\n"


def test_nothing_is_installed_that_was_not_named(suite: Path, tmp_path: Path) -> None:
    given = {"RADIALBENCH_SUITE": str(suite), "RADIALBENCH": ""}
    code, log = run(".radialbench-offline", tmp_path / "temp", tmp_path, **given)
    assert code == 2
    assert log.startswith("radialbench: set RADIALBENCH to what pip installs, such as git+https:")
    assert not (tmp_path / "temp" / "asked").exists()


def test_masks_of_the_last_commit_are_compiled_and_compared(
    repository: Path, tmp_path: Path
) -> None:
    given = {"RADIALBENCH_SUITE": "small.yaml", "RADIALBENCH_AGAINST": "HEAD^"}
    code, log = run(".radialbench-offline", tmp_path / "temp", repository, **given)
    assert code == 1
    assert "other pairs attend" in log
    given["RADIALBENCH_AGAINST"] = "HEAD"
    code, log = run(".radialbench-offline", tmp_path / "again", repository, **given)
    assert code == 0
    assert "small: 1 pass" in log
    torch, package = (tmp_path / "again" / "asked").read_text().splitlines()
    assert torch.endswith("--no-deps --index-url https://download.pytorch.org/whl/cpu torch")
    assert package.split()[-1] == SOURCE
    assert "index" not in package


def test_a_commit_that_is_not_there_ends_the_job(repository: Path, tmp_path: Path) -> None:
    given = {"RADIALBENCH_SUITE": "small.yaml", "RADIALBENCH_AGAINST": "HEAD~9"}
    code, log = run(".radialbench-offline", tmp_path / "temp", repository, **given)
    assert code not in (0, 3)
    assert "HEAD~9" in log
