"""Starting up loads nothing heavy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"matplotlib", "numpy", "optuna", "pandas", "torch", "triton", "yaml"}

HELP = """
import sys
from radialbench.cli import main
sys.argv = ["radialbench", *{arguments}]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
"""
TELL = "import json, sys; sys.stderr.write(json.dumps(sorted(sys.modules)))"


def loaded(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\n{TELL}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {module.split(".")[0] for module in json.loads(done.stderr)}


def test_import_is_light() -> None:
    assert not loaded("import radialbench") & HEAVY


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["--version"], ["run", "--help"], ["tune", "--help"], ["check", "--help"]),
        *(["export", "--help"], ["export", "configs", "--help"], ["export", "table", "--help"]),
    ],
)
def test_help_is_light(arguments: list[str]) -> None:
    assert not loaded(HELP.format(arguments=arguments)) & HEAVY


def test_a_search_in_a_journal_loads_no_database(tmp_path: Path) -> None:
    code = (
        "from radialbench.autotune.tuner import open_store; from tests.autotune import landscape\n"
        f"open_store('journal:{tmp_path}/a', 's', landscape.candidates(landscape.shape(5)))"
    )
    assert not loaded(code) & {"sqlalchemy", "torch"}


def test_records_are_stored_without_numpy() -> None:
    modules = "measurement, problem, result, statistics, store, tuning, tuning_file"
    assert not loaded(f"from radialbench.records import {modules}") & HEAVY


def test_a_name_loads_only_its_own_module() -> None:
    assert not loaded("from radialbench import RadialBenchError") & HEAVY
    names = "BlockTable, TokenGrid, compile_mask, load_mask, parse_mask"
    assert not loaded(f"from radialbench import {names}") & (HEAVY - {"numpy", "yaml"})
