"""The public names of `radialbench`, and the imports between its modules."""

import ast
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import radialbench
from benchmarks.parts import ROOT


def test_names_are_sorted() -> None:
    assert radialbench.__all__ == sorted(radialbench.__all__)
    assert dir(radialbench) == radialbench.__all__


@pytest.mark.parametrize("name", radialbench.__all__)
def test_names_resolve(name: str) -> None:
    value = getattr(radialbench, name)
    assert value is getattr(radialbench, name)
    if name != "__version__":
        assert value.__doc__
        assert value.__name__ == name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(radialbench.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == radialbench._HOMES
    assert sorted([*seen, "__version__"]) == radialbench.__all__


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'radialbench' has no attribute 'radial'"):
        radialbench.radial  # noqa: B018


def test_a_wheel_describes_itself() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all(url.startswith("https://") for url in project["urls"].values())
    readme = (ROOT / project["readme"]).read_text(encoding="utf-8")
    first_screen = "\n".join(readme.splitlines()[:25])
    assert "pip install" in first_screen
    assert "radialbench run smoke" in first_screen


def test_imports_point_down(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out
