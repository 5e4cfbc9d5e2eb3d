"""The README says what the committed records and the code say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import readme

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_those_of_the_records() -> None:
    assert readme.written(TEXT) == TEXT, "run: python -m benchmarks.readme"


def test_a_changed_number_is_noticed() -> None:
    changed = re.sub(r"(\| radial[^\n]*?)(\d)", lambda m: f"{m[1]}{(int(m[2]) + 1) % 10}", TEXT)
    assert changed != TEXT
    assert readme.written(changed) == TEXT


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", TEXT, re.S))
def test_python_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "% of the pairs attend" in done.stdout


@pytest.mark.parametrize("line", re.findall(r"^\.venv/bin/radialbench (.*)$", TEXT, re.M))
def test_commands_run(line: str, tmp_path: Path) -> None:
    (mask,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    (tmp_path / "near_and_first.yaml").write_text(mask)
    command = [sys.executable, "-m", "radialbench", *line.split()]
    subprocess.run(command, capture_output=True, cwd=tmp_path, check=True)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
