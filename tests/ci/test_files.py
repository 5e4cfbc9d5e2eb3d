"""Our workflow and the examples of docs/ci.md give the action and the template what they take."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from radialbench.suites.read import load_suite
from tests.ci.runner import ROOT, read

DOCS = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
GITHUB, GITLAB = (
    yaml.load(text, yaml.BaseLoader) for text in re.findall(r"```yaml\n(.*?)```", DOCS, re.S)
)
WORKFLOW = read(".github/workflows/ci.yml")
ACTION, TEMPLATE = read("action.yml"), read("ci/gitlab.yml")
COMMENT = read("ci/measure-on-comment.yml")


def uses(workflow: dict[str, Any]) -> list[dict[str, str]]:
    """Give what the steps of a workflow hand to the action."""
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ours = [step for step in steps if re.match(r"\./$|OWNER/", step.get("uses", ""))]
    assert len(ours) == 2
    return [step["with"] for step in ours]


@pytest.mark.parametrize("given", [*uses(GITHUB), *uses(WORKFLOW)])
def test_the_action_is_given_what_it_takes(given: dict[str, str]) -> None:
    assert given.keys() <= ACTION["inputs"].keys()
    assert given.get("offline", "false") in ("true", "false")


@pytest.mark.parametrize("given", uses(WORKFLOW))
def test_our_workflow_checks_a_shipped_suite(given: dict[str, str]) -> None:
    assert load_suite(given["suite"]).name == given["suite"]


@pytest.mark.parametrize("workflow", [GITHUB, WORKFLOW])
def test_the_commit_to_compare_with_is_checked_out(workflow: dict[str, Any]) -> None:
    compared = [
        job
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "suite" in step.get("with", {}) and "baseline" not in step["with"]
    ]
    assert compared
    for job in compared:
        assert job["steps"][0]["uses"].startswith("actions/checkout@")
        assert job["steps"][0]["with"]["fetch-depth"] == "2"


def test_our_workflow_runs_what_people_run_and_ends() -> None:
    (command,) = [step["run"] for step in WORKFLOW["jobs"]["test"]["steps"] if "run" in step]
    assert command == "make test"
    assert all("timeout-minutes" in job for job in WORKFLOW["jobs"].values())
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_jobs_extend_the_template() -> None:
    jobs = [job for job in GITLAB.values() if "extends" in job]
    assert {job["extends"] for job in jobs} | {".radialbench"} == set(TEMPLATE)
    for job in jobs:
        assert set(job["variables"]) <= set(TEMPLATE[".radialbench"]["variables"])


def test_a_comment_runs_little() -> None:
    jobs = COMMENT["jobs"]
    assert COMMENT["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "request": {"pull-requests": "read"},
        "measured": {"contents": "read"},
        "answer": {"pull-requests": "write"},
    }
    asks = jobs["request"]["if"]
    assert "author_association" in asks
    assert re.search(r"""'\["OWNER", "MEMBER", "COLLABORATOR"\]'""", asks)
    assert all(job.get("needs") for name, job in jobs.items() if name != "request")
    checkout, check = jobs["measured"]["steps"]
    assert checkout["with"]["persist-credentials"] == "false"
    assert check["with"].keys() <= ACTION["inputs"].keys()
    assert check["with"]["against"] == "${{ needs.request.outputs.base }}"
    # Text of others is a variable of a script and never a part of it.
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert len(scripts) == 2
    assert not any("${{" in script for script in scripts)


def ask(comment: str, head: str) -> tuple[int, str]:
    """Run the script that reads a comment, where a pull request ends with a commit."""
    (step,) = COMMENT["jobs"]["request"]["steps"]
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "gh"
        answer.write_text(f"#!/bin/sh\necho {head} {'b' * 40}\n", encoding="utf-8")
        answer.chmod(0o755)
        out = Path(folder) / "out"
        out.touch()
        env = {"PATH": f"{folder}:{os.environ['PATH']}", "COMMENT": comment, "PULL": "7"}
        env |= {"GITHUB_OUTPUT": str(out), "GITHUB_REPOSITORY": "a/b"}
        done = subprocess.run(["bash", "-e", "-c", step["run"]], env=env, capture_output=True)
        return done.returncode, out.read_text(encoding="utf-8")


HEAD = "1a2b3c4" + "d" * 33


@pytest.mark.parametrize("comment", [f"/radialbench {HEAD}", "/radialbench 1a2b3c4\nplease"])
def test_a_comment_names_the_last_commit(comment: str) -> None:
    assert ask(comment, HEAD) == (0, f"head={HEAD}\nbase={'b' * 40}\n")


@pytest.mark.parametrize(
    "comment",
    [
        "/radialbench ",
        "/radialbench 1a2b3",
        f"/radialbench {'e' * 40}",
        "/radialbench $(id)",
        "/radialbench *",
    ],
)
def test_another_commit_is_not_measured(comment: str) -> None:
    assert ask(comment, HEAD) == (1, "")


def rows(column: str) -> Iterable[str]:
    return re.findall(rf"^\| `({column})` \|", DOCS, re.M)


def test_every_input_and_output_is_told_with_its_default() -> None:
    assert rows(r"[\w-]+") == list(ACTION["inputs"])
    for name, one in ACTION["inputs"].items():
        (row,) = re.findall(rf"^\| `{name}` \|.*", DOCS, re.M)
        assert row.endswith(f"(`{one['default']}`) |" if "default" in one else " |")
    for name in ACTION["outputs"]:
        assert f"`{name}`" in DOCS


def test_every_option_of_pytest_that_is_told_is_there() -> None:
    source = (ROOT / "radialbench" / "pytest_plugin.py").read_text(encoding="utf-8")
    there = set(re.findall(r'^\s+"(--radialbench-\w+)",$', source, re.M))
    assert set(re.findall(r"--radialbench-\w+", DOCS)) == there


def test_nothing_of_the_checkout_is_imported() -> None:
    """A module of a pull request must not stand in for one that a step imports."""
    for name in ("action.yml", "ci/gitlab.yml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "python -P -m radialbench" in text
        assert not re.search(r"python -(?!P )", text)


def test_processes_of_the_package_import_nothing_of_the_checkout_either() -> None:
    sources = {
        path: path.read_text(encoding="utf-8") for path in (ROOT / "radialbench").rglob("*.py")
    }
    started = [
        (path.name, flag)
        for path, text in sources.items()
        for flag in re.findall(r"\[\s*sys\.executable,\s*([^,\]]+)", text)
    ]
    assert len(started) >= 5
    assert {flag for _, flag in started} <= {'"-P"', '"-I"'}, started


@pytest.mark.parametrize(
    "name", [".github/workflows/ci.yml", "docs/ci.md", "action.yml", "ci/measure-on-comment.yml"]
)
def test_actions_of_others_are_pinned_by_their_commit(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for action, version in re.findall(r"uses: ([\w/.-]+)(.*)", text):
        if action not in ("./", "OWNER/radialbench"):
            assert re.fullmatch(r"@[0-9a-f]{40}  # v[\d.]+", version), action


@pytest.mark.parametrize("name", ["action.yml", "ci/gitlab.yml", "Makefile"])
def test_no_index_adds_to_another(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "extra-index" not in text
    for line in re.findall(r".*--index-url.*", text):
        assert re.search(r"--no-deps --index-url \S+ torch\b", line), line
