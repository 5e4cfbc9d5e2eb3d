"""What docs/security.md says: files run no code, and a hostile name from one does nothing."""

import ast
import csv
import html.parser
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.parts import ROOT
from radialbench.records.offline import Offline
from radialbench.records.result import Status
from radialbench.reports.check.verdict import CheckResult, Outcome, Verdict
from radialbench.reports.formats import CHECK_FORMATS, FORMATS, load_check_format, load_format
from radialbench.reports.offline_diff import OfflineOutcome, OfflineVerdict
from radialbench.reports.offline_text import OfflineChecked, render_offline
from radialbench.reports.story import story
from radialbench.reports.summary import Summary, summarize
from tests.records.offline import ABSENT, HEAD
from tests.reports.factory import ended, made

HOSTILE = (
    "=1+1|a<img src=x onerror=alert(1)>\x1b]0;title\x07\x1b[2J\r\n::error::x `c` [t](http://x) "
    "@name #1 ]]></script>\u202e\x00"
)
"""A formula, a tag, escape sequences, a command of GitHub, Markdown, the end of a script."""

PICKLES = {"suites/resources.py"}
EXECUTED = {"kernels/triton/mask_blocks.py"}


class Tags(html.parser.HTMLParser):
    """Collects what a browser would make of a page: its tags, and scripts' text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def summary() -> Summary:
    bad = ended(Status.FAILED, HOSTILE, made(HOSTILE, 5))
    return summarize([made("dense"), made(HOSTILE), bad], source=HOSTILE)


def verdicts() -> CheckResult:
    one = Verdict(HOSTILE, "latency", Outcome.MISSING, HOSTILE)
    return CheckResult(HOSTILE, HOSTILE, (one,), (f"commit: {HOSTILE}",))


def rendered(name: str) -> str:
    """Return a format's text of the hostile name."""
    of_check, _, kind = name.rpartition("check ")
    if name == "story":
        return story(summary(), Path(HOSTILE.replace("\0", "")))
    if name.startswith("offline"):
        row = replace(ABSENT, name=HOSTILE, reason=HOSTILE)
        now = Offline(replace(HEAD, suite=HOSTILE, rows=1), (row,))
        gone = (OfflineVerdict("kernel", HOSTILE, OfflineOutcome.MISSING, HOSTILE),)
        suites = [OfflineChecked(now, None), OfflineChecked(now, gone, HOSTILE)]
        return render_offline(name.rpartition(" ")[2], suites)
    if name == "notebook":
        return summary()._repr_html_()
    return load_check_format(kind)(verdicts()) if of_check else load_format(kind)(summary())


NAMES = [*FORMATS, *(f"of a check {name}" for name in CHECK_FORMATS), "story", "notebook"]
NAMES += [f"offline {name}" for name in ("terminal", "markdown", "json", "junit", "github")]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_does_nothing(name: str) -> None:
    text, kind = rendered(name), name.rpartition(" ")[2]
    if kind == "csv":
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert any("onerror" in cell for cell in cells)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
        return
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\x9b]", text)
    if kind in ("json", "sarif", "bencher"):
        json.loads(text)
        return
    assert "\u202e" not in text
    assert not re.search(r"^::error::x", text, re.M)
    if kind in ("html", "notebook"):
        tags = Tags(text).tags
        assert not [tag for tag in tags if "onerror" in tag[1] or tag[1].get("src") == "x"]
        assert text.count("</script>") == sum(tag == "script" for tag, _ in tags)
        assert "&lt;img src=x" in text
    if kind == "junit":
        assert "img" not in {element.tag for element in ElementTree.fromstring(text).iter()}
    if kind == "markdown":
        # Nothing in a code span is obeyed, and nothing in this one ends it.
        text = re.sub(r"`[^`\n]*`", "", text) if name.startswith("offline") else text
        assert "<img" not in text
        assert not re.search(r"(?<!\\)\]\(http://x|@name|#1\b|(?<!\\)`c(?<!\\)`", text)


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [(ast.unparse(node.func), node) for node in found]


def test_nothing_of_a_file_is_executed() -> None:
    package = ROOT / "radialbench"
    for path in package.rglob("*.py"):
        tree, where = ast.parse(path.read_text("utf-8")), str(path.relative_to(package))
        for name, call in calls(tree):
            assert name not in ("eval", "__import__", "os.system", "yaml.load", "torch.load"), where
            assert name not in ("exec", "compile") or where in EXECUTED, where
            assert not name.startswith("pickle.") or where in PICKLES, where
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert given.get("shell", "False") == "False", where
            if name == "np.load":
                assert given["allow_pickle"] == "False", where
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not imported & {"marshal", "shelve", "dill", "cloudpickle"}, where


SUITE = """\
cases:
  - masks: [radial]
    grids: [{frames: 3, height: 2, width: 6}]
    heads: 1
    head_dim: 16
    dtype: float32
    backends: ["planted:Backend"]
"""


@pytest.mark.parametrize("words", ["suite validate s.yaml", "run s.yaml -o out"])
def test_a_module_beside_a_suite_is_not_found(words: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE)
    (tmp_path / "planted.py").write_text("open('imported', 'w')\nclass Backend: pass\n")
    command = [sys.executable, "-m", "radialbench", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "'planted:Backend' is of a module that is not here" in " ".join(done.stderr.split())
    assert not (tmp_path / "imported").exists()


def test_the_tests_that_the_page_names_are_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert named and all((ROOT / path).exists() for path in named)
