"""The pages on fidelity and decay are true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PRINTED = {
    "fidelity": r"[\d.]+% kept, [\d.]+% by the best blocks\n",
    "decay": r"in time exponential, rate 0\.\d\d \(.*\)\nin time power, rate [01]\.\d\d \(.*\)\n",
}
"""What the code of a page prints."""


@pytest.mark.parametrize("page", PRINTED)
def test_its_python_runs(page: str, tmp_path: Path) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert re.fullmatch(PRINTED[page], done.stdout)
