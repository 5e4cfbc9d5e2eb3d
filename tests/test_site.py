"""The site holds together, without being built: navigation, generated pages, code, tutorials."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.parts import ROOT
from ci.site_pages import COMMANDS_PAGE, commands_page
from radialbench.cli import VERBS
from radialbench.errors import BackendError
from radialbench.records.store import write_whole
from tests.reports.factory import made

DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
CODE = re.compile(r"^```(?:python|py)\n(.*?)^```", re.M | re.S)

ELSEWHERE = {
    "README.md": "tests/test_docs.py",
    "docs/capture.md": "tests/integrations/test_docs.py",
    "docs/decay.md": "tests/fidelity/test_docs.py",
    "docs/export.md": "tests/commands/test_export_docs.py",
    "docs/fidelity.md": "tests/fidelity/test_docs.py",
    "docs/integrations.md": "tests/integrations/test_docs.py",
    "docs/mask-search.md": "tests/masksearch/test_docs.py",
    "docs/scale.md": "tests/parallel/test_plan.py",
    "docs/tuning.md": "tests/kernels/test_tuning_docs.py",
}
"""Pages whose Python is run by a test of their own; all other pages' is run here."""


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, in which MkDocs' own loader resolves names of Python."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda *given: given[1])
SITE: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)


def pages(nav: list[dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        for below in entry.values():
            yield from pages(below) if isinstance(below, list) else [below]


def test_every_page_is_in_the_navigation_once() -> None:
    there = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert sorted(pages(SITE["nav"])) == sorted([*there, COMMANDS_PAGE])
    assert [ROOT / hook for hook in SITE["hooks"]] == [ROOT / "ci" / "site_pages.py"]


def test_the_reference_has_every_verb_and_its_options() -> None:
    text = commands_page()
    assert re.findall(r"^## (.*)$", text, re.M) == list(VERBS)
    assert "| `-m, --model <str>` | A model preset, see `mask models`" in text
    assert "### mask show\n\n```text\nradialbench mask show [OPTIONS]" in text
    for row in re.findall(r"^\|.*$", text, re.M):
        assert len(re.findall(r"(?<!\\)\|", row)) == 3, row
        assert "<" not in re.sub(r"`[^`]*`", "", row), row


def code_of(page: Path) -> list[str]:
    return CODE.findall(page.read_text(encoding="utf-8"))


def other_pages() -> list[Path]:
    every = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [
        page for page in every if code_of(page) and str(page.relative_to(ROOT)) not in ELSEWHERE
    ]


def test_pages_with_tests_of_their_own_have_them() -> None:
    for page, test in ELSEWHERE.items():
        assert code_of(ROOT / page)
        assert Path(page).stem in (ROOT / test).read_text(encoding="utf-8"), page


SMALLER = {
    "index.md": {"frames=21, height=45, width=80": "frames=3, height=4, width=8"},
    "masks.md": {"16, 30, 52, query": "16, 2, 3, query", ", 128, device": ", 32, device"},
}
"""Videos that a CPU attends on in moments, by page."""

ON_A_CPU = {'device="cuda"': 'device="cpu"', "torch.bfloat16": "torch.float32"}


@pytest.mark.parametrize("page", other_pages(), ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block after the other, beside the page's masks and a run's results."""
    for text in re.findall(r"```yaml\n(name: .*?)```", page.read_text("utf-8"), re.S):
        name = re.match(r"name: (\w+)", text)
        assert name
        (tmp_path / f"{name[1]}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "results" / "smoke").mkdir(parents=True)
    write_whole(tmp_path / "results" / "smoke" / "results.jsonl", [made(), made("dense")])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in code_of(page):
        for text, other in {**ON_A_CPU, **SMALLER.get(page.name, {})}.items():
            code = code.replace(text, other)
        if "boxed(" in code:  # Only Hopper's kernel reads boxes.
            with pytest.raises(BackendError, match="box"):
                exec(code, names)
        else:
            exec(code, names)


@pytest.mark.parametrize("page", [DOCS / "start.md"], ids=lambda page: page.name)
def test_commands_of_the_first_page_run(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (mask,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (tmp_path / "near_and_first.yaml").write_text(mask, encoding="utf-8")
    lines = re.findall(r"^radialbench (mask\b.*?)(?: +#.*)?$", text, re.M)
    assert len(lines) == 4
    for line in lines:
        command = [sys.executable, "-m", "radialbench", *line.split()]
        subprocess.run(command, capture_output=True, cwd=tmp_path, check=True)


PRINTED = {
    "keep.py": r"head 0: exponential in time.*radial +executes.*of the blocks keep 100\.0%",
    "measure.py": r"radialbench run mine\.yaml.*latency_ms.*report: .*verdicts",
    "own_kernel.py": r"radial own_kernel:Mine +ok",
    "own_mask.py": r"keyframes keeps [\d.]+% of.*difference from the definition is \de[-+]0\d",
}


def test_tutorials_are_four_and_named() -> None:
    text = (DOCS / "tutorials" / "index.md").read_text(encoding="utf-8")
    assert [path.name for path in TUTORIALS] == [*PRINTED]
    assert all(f"[{path.name}]({path.name})" in text for path in TUTORIALS)


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda script: script.name)
def test_a_tutorial_runs(script: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(PRINTED[script.name], done.stdout, re.S), done.stdout


def test_the_kernel_of_the_tutorial_holds_the_contract(tmp_path: Path) -> None:
    script = shutil.copy(DOCS / "tutorials" / "own_kernel.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "17 passed, 1 skipped" in done.stdout
