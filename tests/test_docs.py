"""The README, and docs/ as a whole: examples run, links and commands exist, check.md is right."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.main import get_command

from benchmarks.parts import ROOT
from radialbench.cli import app
from radialbench.records.gate import Gate, gate_text
from radialbench.reports.check.metrics import GATES, METRICS, RUNS_CPU, RUNS_ENERGY, RUNS_GPU
from radialbench.reports.check.verdict import Outcome
from radialbench.reports.formats import CHECK_FORMATS

README = (ROOT / "README.md").read_text(encoding="utf-8")
CHECK = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
OTHERS = [ROOT / "action.yml", ROOT / "ci" / "gitlab.yml", ROOT / "Makefile"]


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.S))
def test_python_of_the_readme_runs(code: str, tmp_path: Path) -> None:
    # As at a user's: the tests set that Triton interprets kernels, which takes minutes here.
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=env, check=True
    )
    assert re.match(
        r"[\d.]+% of the pairs attend|loss [\d.]+, gradient of the weights [\d.]+", done.stdout
    )


COMMANDS = [
    line
    for line in re.findall(r"^radialbench ((?:mask|suite|doctor)\b.*?)(?: +#.*)?$", README, re.M)
    if "captured" not in line
]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_readme_run(line: str, tmp_path: Path) -> None:
    (mask,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    (tmp_path / "near_and_first.yaml").write_text(mask)
    command = [sys.executable, "-m", "radialbench", *line.split()]
    subprocess.run(command, capture_output=True, cwd=tmp_path, check=True)


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    headings = (
        re.sub(r"[^\w\- ]", "", line.lower()) for line in re.findall(r"^#+ (.*)", text, re.M)
    )
    return {re.sub(" +", "-", heading.strip()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)#?([^)]*)\)", page.read_text("utf-8")):
        if not anchor.startswith(":"):
            linked = page.parent / target if target else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def command_lines(text: str) -> Iterator[list[str]]:
    joined = text.replace("\\\n", " ")
    for line in re.findall(r"(?:^|[`/] ?|python -m )radialbench ([a-z][^`\n#|>&)]*)", joined, re.M):
        yield line.split()


def options_of(command: Any) -> set[str]:
    below = [command.get_command(CONTEXT, name) for name in subcommands(command)]
    own = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return own.union(*map(options_of, below))


def subcommands(command: Any) -> list[str]:
    return command.list_commands(CONTEXT) if hasattr(command, "list_commands") else []


COMMAND = get_command(app)
CONTEXT = Context(COMMAND)


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in command_lines(page.read_text(encoding="utf-8")):
        command: Any = COMMAND
        while words and words[0] in subcommands(command):
            command = command.get_command(CONTEXT, words.pop(0))
        if command is COMMAND:
            continue
        for word in words:
            if word.startswith("--"):
                option = re.split(r"[=,;:.]", word)[0]
                assert option in options_of(command), f"{command.name} {' '.join(words)}"


def test_verbs_in_code_spans_exist() -> None:
    for page in [*PAGES, *OTHERS]:
        for verb in re.findall(r"`radialbench ([a-z]+)\b", page.read_text(encoding="utf-8")):
            assert verb in subcommands(COMMAND), f"{page.name}: radialbench {verb}"


def test_metrics_outcomes_and_formats_of_checks_are_all_named() -> None:
    for name in (*METRICS, *GATES, *CHECK_FORMATS, *Outcome):
        assert f"| `{name}` |" in CHECK


def test_default_gates_are_those_of_the_table() -> None:
    texts = {metric: gate_text(metric, gate) for metric, gate in GATES.items()}
    texts |= {"memory": "1%, and 1 MiB", "accuracy": "1.5×, and 0.05 of the tolerance"}
    texts |= {"mass_kept": "0.5 points", "output_error": "5%, and 0.1 points"}
    assert GATES["output_error"] == Gate(0.05, 0.001)
    assert (GATES["memory"], GATES["accuracy"]) == (Gate(0.01, 1 << 20), Gate(0.5, 0.05))
    part = CHECK[CHECK.index("## Metrics and gates") :]
    rows = dict(
        re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", part[: part.index("A gate is")], re.M)
    )
    assert rows == texts


def test_assumed_differences_between_runs_are_those_of_the_page() -> None:
    text = " ".join(CHECK.split())
    assert (
        f"a standard deviation of the ratio of {RUNS_GPU:.1%} on a GPU, {RUNS_CPU:.0%} on a "
        f"CPU, {RUNS_ENERGY:.0%} for energy" in text
    )
