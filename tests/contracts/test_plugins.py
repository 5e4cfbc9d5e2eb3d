"""A plug-in that is not in its table does not exist: every module of a plug-in folder is listed."""

from importlib import import_module
from pathlib import Path

import pytest

import radialbench

PACKAGE = Path(radialbench.__file__).parent
TABLES = {
    "autotune/export": "radialbench.autotune.export:CONFIG_FORMATS",
    "kernels/backends": "radialbench.kernels.backends:BACKENDS",
    "maskgen/export": "radialbench.maskgen.export:EXPORTERS",
    "reports/check/formats": "radialbench.reports.check.formats:CHECK_FORMATS",
    "reports/formats": "radialbench.reports.formats:FORMATS",
}
HERE = [folder for folder in TABLES if (PACKAGE / folder).is_dir()]


def table_of(folder: str) -> dict[str, str]:
    module, name = TABLES[folder].split(":")
    table: dict[str, str] = getattr(import_module(module), name)
    return table


@pytest.mark.parametrize("folder", HERE)
def test_every_module_is_listed(folder: str) -> None:
    prefix = f"radialbench.{folder.replace('/', '.')}"
    files = (PACKAGE / folder).glob("[!_]*.py")
    listed = {entry.split(":")[0] for entry in table_of(folder).values()}
    assert {f"{prefix}.{file.stem}" for file in files} == listed


@pytest.mark.parametrize("folder", HERE)
def test_every_entry_resolves(folder: str) -> None:
    table = table_of(folder)
    assert list(table) == sorted(table)
    for entry in table.values():
        module, _, name = entry.partition(":")
        assert callable(getattr(import_module(module), name))
