"""The page on the search is true."""

import re
import subprocess
import sys
from pathlib import Path

from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.masksearch.space import read_families

PAGE = (Path(__file__).parents[2] / "docs" / "mask-search.md").read_text(encoding="utf-8")


def test_its_python_runs(tmp_path: Path) -> None:
    _, code = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    *_, last = lines = done.stdout.splitlines()
    assert len(lines) > 3
    assert last == "100% of the blocks keep 100.0% of the mass"


def test_its_family_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    (tmp_path / "own.yaml").write_text(text)
    (family,) = read_families([str(tmp_path / "own.yaml")])
    assert family.size == 13
    assert compile_mask(family.at(family.start), TokenGrid(6, 4, 4)).density < 1
