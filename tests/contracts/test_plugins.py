"""A plug-in that is not in its table does not exist: every module of a plug-in folder is listed."""

from importlib import import_module
from pathlib import Path

import pytest

import radialbench

PACKAGE = Path(radialbench.__file__).parent
TABLES = (
    "radialbench.autotune.export:CONFIG_FORMATS",
    "radialbench.kernels.backends:BACKENDS",
    "radialbench.maskgen.export:EXPORTERS",
    "radialbench.reports.formats:CHECK_FORMATS",
    "radialbench.reports.formats:FORMATS",
)
FOLDERS = sorted({table.split(":")[0] for table in TABLES})


def entries(table: str) -> dict[str, str]:
    module, name = table.split(":")
    found: dict[str, str] = getattr(import_module(module), name)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_is_listed(folder: str) -> None:
    path = PACKAGE.parent / folder.replace(".", "/")
    files = {f"{folder}.{file.stem}" for file in path.glob("[!_]*.py")}
    tables = [entries(table) for table in TABLES if table.startswith(f"{folder}:")]
    listed = {entry.split(":")[0] for table in tables for entry in table.values()}
    # A format may be a function of a module that is not a plug-in, such as the page.
    assert files == {module for module in listed if module.startswith(f"{folder}.")}


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_resolves(table: str) -> None:
    assert list(entries(table)) == sorted(entries(table))
    for entry in entries(table).values():
        module, _, name = entry.partition(":")
        assert callable(getattr(import_module(module), name))
