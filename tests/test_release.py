"""What is uploaded: the wheel, the source distribution, their metadata, the public names."""

import re
import subprocess
import sys
import tarfile
import tomllib
from email.message import Message
from email.parser import BytesParser
from importlib import import_module
from itertools import chain
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import radialbench
from benchmarks.parts import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION = yaml.load((ROOT / "CITATION.cff").read_text("utf-8"), yaml.BaseLoader)
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
REFERENCE = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs/reference").glob("*.md"))


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built as `make release-check` builds them, without an environment."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: make .venv/.dev")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-P", "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    return folder


def wheel(dist: Path) -> ZipFile:
    (path,) = dist.glob("*.whl")
    return ZipFile(path)


def metadata(dist: Path) -> Message:
    with wheel(dist) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return BytesParser().parsebytes(archive.read(name))


def test_the_wheel_has_the_package_and_nothing_else(dist: Path) -> None:
    with wheel(dist) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"radialbench", f"radialbench-{radialbench.__version__}.dist-info"}
    assert not [name for name in names if re.search(r"(^|/)tests?(/|_)|__pycache__|\.pyc$", name)]
    here = subprocess.run(
        ["git", "ls-files", "radialbench"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if here.returncode == 0:  # A source distribution is no repository.
        assert {name for name in names if name.startswith("radialbench/")} >= {
            name for name in here.stdout.split() if (ROOT / name).exists()
        }


def test_the_wheel_has_what_is_read_at_run_time(dist: Path) -> None:
    with wheel(dist) as archive:
        names = archive.namelist()
    for pattern in (
        *(r"py\.typed", r"maskgen/library/radial\.yaml", r"maskgen/models/wan2\.1-14b\.yaml"),
        *(r"suites/library/smoke\.yaml", r"autotune/configs/.*\.jsonl", r"reports/page/page\.html"),
        *(r"reports/page/style\.css", r"reports/page/script\.js"),
    ):
        assert [name for name in names if re.fullmatch(f"radialbench/{pattern}", name)], pattern


def test_the_metadata_is_that_of_a_page_on_an_index(dist: Path) -> None:
    found = metadata(dist)
    assert found["Version"] == radialbench.__version__
    assert found["License-Expression"] == "Apache-2.0"
    assert found.get_all("License-File") == ["LICENSE"]
    assert found["Description-Content-Type"] == "text/markdown"
    described = found.get_payload(decode=True)
    assert isinstance(described, bytes)
    assert described.strip() == (ROOT / "README.md").read_bytes().strip()
    assert found["Requires-Python"] == PROJECT["requires-python"]
    urls = dict(url.split(", ") for url in found.get_all("Project-URL", []))
    assert urls == PROJECT["urls"]
    with wheel(dist) as archive:
        (license,) = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        assert archive.read(license) == (ROOT / "LICENSE").read_bytes()


def test_the_source_distribution_tests_itself(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "Makefile", "constraints.txt", "LICENSE", "README.md", "PKG-INFO"}
    wanted |= {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "mkdocs.yml", "action.yml"}
    assert names >= wanted | {"ci/site_pages.py", "docs/start.md", "tests/test_release.py"}


def test_one_version_everywhere() -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\] - (\d{4}-\d\d-\d\d)$", CHANGES, re.M)
    assert versions[0] == (CITATION["version"], CITATION["date-released"])
    assert CITATION["version"] == radialbench.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", radialbench.__version__)
    assert CHANGES.index("## [Unreleased]") < CHANGES.index(f"## [{radialbench.__version__}]")
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["keywords"] == PROJECT["keywords"]


@pytest.mark.parametrize("name", sorted({*radialbench.__all__} - {"__version__"}))
def test_public_names_are_in_the_reference_and_in_the_code_of_a_user(name: str) -> None:
    listed = re.findall(r"^::: (\S+)$", REFERENCE, re.M)
    assert {f"radialbench.{name}", radialbench._HOMES[name]} & {*listed}
    assert re.search(rf"\b{name}\b", (ROOT / "tests" / "user_code.py").read_text("utf-8"))


@pytest.mark.parametrize("name", re.findall(r"^::: (radialbench[\w.]*)$", REFERENCE, re.M))
def test_names_of_the_reference_are_there_and_described(name: str) -> None:
    try:
        value = import_module(name)
    except ModuleNotFoundError:
        module, _, last = name.rpartition(".")
        value = getattr(import_module(module), last)
    assert value.__doc__


def test_what_is_pinned_covers_what_is_asked_for() -> None:
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    for requirement in chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        name = re.split(r"[\[>;= ]", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in names, requirement
