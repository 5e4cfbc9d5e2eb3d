"""What the README shows runs, and its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


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
