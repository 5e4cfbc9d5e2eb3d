"""Backends and masks of other packages: by their entry points, and as `module:Class`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from radialbench import plugins
from radialbench.commands.doctor import doctor
from radialbench.errors import BackendError, SpecError
from radialbench.kernels.backends import added_backends, check_backend, load_backend
from radialbench.kernels.backends.cpu import Cpu
from radialbench.maskgen.library import added_masks, load_mask
from radialbench.records.result import Status
from radialbench.records.store import RESULTS, read
from radialbench.reports.masks import known_mask
from tests.suites import small

KERNEL = """
from radialbench.kernels.backends.cpu import Cpu


class Mine(Cpu):
    name = "mine"


class Nothing:
    pass
"""

MASK = "name: whatever\nmask: dt <= 1 or kt == 0\n"

ENTRY_POINTS = """\
[radialbench.backends]
mine = their_kernels.kernel:Mine
broken = their_kernels.broken:Kernel

[radialbench.masks]
near = their_kernels:NEAR
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip leaves it: a package with its entry points."""
    site = tmp_path / "site"
    package, facts = site / "their_kernels", site / "their_kernels-1.2.dist-info"
    package.mkdir(parents=True)
    facts.mkdir()
    near = 'from pathlib import Path\n\nNEAR = Path(__file__).with_name("near.yaml")\n'
    (package / "__init__.py").write_text(near, encoding="utf-8")
    (package / "near.yaml").write_text(MASK, encoding="utf-8")
    (package / "kernel.py").write_text(KERNEL, encoding="utf-8")
    (package / "broken.py").write_text("raise OSError('no such\\nlibrary')\n", encoding="utf-8")
    (facts / "METADATA").write_text("Name: their-kernels\nVersion: 1.2\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    return site


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(site))
    plugins._installed.cache_clear()
    yield
    plugins._installed.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "their_kernels"]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_suite_runs_them(site: Path, tmp_path: Path) -> None:
    backends = ["cpu", "mine", "their_kernels.kernel:Mine", "their_kernels.kernel:Nothing"]

    def change(document: dict[str, Any]) -> None:
        document["cases"][0].update(
            masks=["near"],
            backends=[*backends, "broken"],
            grids=[{"frames": 2, "height": 3, "width": 5}],
        )

    suite, out = small.written(tmp_path, small.text_of(change)), tmp_path / "out"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    command = [sys.executable, "-P", "-m", "radialbench", "run", str(suite), "-o", str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = {record.backend: record for record in read(out / RESULTS).records}
    assert [records[name].status for name in backends[:3]] == [Status.OK] * 3
    assert all(r.environment.versions["their-kernels"] == "1.2" for r in records.values())
    for name, why in {
        "their_kernels.kernel:Nothing": "has no unsupported_reasons and no plan and no needs",
        "broken": "the backend 'broken' cannot be imported: OSError: no such library",
    }.items():
        assert records[name].status == Status.UNSUPPORTED
        assert why in (records[name].reason or "")


@pytest.mark.usefixtures("installed")
def test_they_have_names() -> None:
    assert [*added_backends()] == ["mine", "broken"]
    assert added_masks() == ["near"]
    check_backend("mine")
    assert load_backend("mine").name == "mine"
    near = load_mask("near")
    assert (near.name, near.file) == ("near", None)
    assert known_mask(near.identity) == near
    assert plugins.plugin_versions() == {"their-kernels": "1.2"}
    with pytest.raises(BackendError, match=r"unknown backend 'mined'; did you mean 'mine'\?"):
        check_backend("mined")
    with pytest.raises(SpecError, match=r"unknown mask 'neat'; did you mean 'near'\?"):
        load_mask("neat")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module.kernel:Mine", "is no_such_module installed, or on PYTHONPATH"),
        ("json:dumps", "has no unsupported_reasons and no plan and no needs"),
        ("json:no_such_name", "AttributeError: module 'json' has no attribute 'no_such_name'"),
        ("json:", "unknown backend 'json:'"),
        ("a b:c", "unknown backend 'a b:c'"),
    ],
)
def test_what_is_none_is_told_in_words(name: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        load_backend(name)


def test_a_name_has_one_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(*entries: tuple[str, str]) -> None:
        made = tuple(EntryPoint(*entry, plugins.GROUPS["backend"]) for entry in entries)
        monkeypatch.setattr(plugins, "_installed", lambda kind: made)

    of(("cpu", "theirs:Cpu"))
    with pytest.raises(BackendError, match="adds a backend 'cpu', a name that radialbench has"):
        added_backends()
    assert load_backend("cpu").name == "cpu"
    of(("mine", "theirs:Mine"), ("mine", "others:Mine"))
    with pytest.raises(BackendError, match="adds a backend 'mine', a name that a package has"):
        added_backends()
    # The same package can be found twice, as a folder and as it was installed.
    of(("mine", "theirs:Mine"), ("mine", "theirs:Mine"))
    assert [*added_backends()] == ["mine"]


@pytest.mark.parametrize(
    ("module", "value", "message"),
    [
        ("import sys; sys.exit(3)", "{}:Mine", "'x' cannot be imported: SystemExit: 3"),
        ("", "{}", r"'x' has the entry point '\w+', which is no module:name"),
        ("", "", "'x' has the entry point '', which is no module:name"),
    ],
)
@pytest.mark.parametrize("kind", ["backend", "mask"])
def test_what_does_not_import_is_told_in_words(
    kind: str,
    module: str,
    value: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "their_fault.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("x", value.format("their_fault"), plugins.GROUPS[kind])
    monkeypatch.setattr(plugins, "_installed", lambda which: (entry,) if which == kind else ())
    with pytest.raises((BackendError, SpecError), match=f"the {kind} {message}"):
        load_backend("x") if kind == "backend" else load_mask("x")
    sys.modules.pop("their_fault", None)


def test_an_entry_point_may_have_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "radialbench.kernels.backends.cpu : Cpu [cuda]"
    entry = EntryPoint("mine", path, plugins.GROUPS["backend"])
    monkeypatch.setattr(plugins, "_installed", lambda kind: (entry,))
    assert load_backend("mine").name == "cpu"


class Unmade(Cpu):
    def __init__(self) -> None:
        raise RuntimeError("no\ndriver")


class Silent(Cpu):
    def needs(self) -> str:
        raise OSError("gone")


def test_doctor_reports_those_that_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tuple(
        EntryPoint(kind.__name__, f"{__name__}:{kind.__name__}", plugins.GROUPS["backend"])
        for kind in (Unmade, Silent)
    )
    monkeypatch.setattr(plugins, "_installed", lambda kind: found if kind == "backend" else ())
    doctor(json=True)
    told = json.loads(capsys.readouterr().out)["backend"]
    assert told["Unmade"] == "the backend 'Unmade' cannot be made: RuntimeError: no driver"
    assert told["Silent"] == "does not say what it needs: OSError: gone"


def test_an_entry_point_of_a_mask_is_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("wrong", "json:dumps", plugins.GROUPS["mask"])
    monkeypatch.setattr(plugins, "_installed", lambda kind: (entry,))
    with pytest.raises(SpecError, match="is a function; its entry point is a MaskSpec, or the"):
        load_mask("wrong")
