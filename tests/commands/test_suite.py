"""`radialbench suite`: the same facts for people and programs, without a GPU and without torch."""

import json
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from radialbench.kernels.tuned import VARIABLE
from radialbench.records.problem import KernelConfig
from radialbench.suites.plan import plan
from radialbench.suites.read import LIBRARY, load_suite, suite_names
from tests.commands.line import Capture, Cli
from tests.kernels.configs import fresh_for, written
from tests.suites import small
from tests.suites.json_schema import errors
from tests.test_import import HELP, loaded


class SuiteCli(Cli):
    """Runs `radialbench suite` in this process."""

    def json(self, *words: object) -> Any:
        """Return what is printed as JSON."""
        code, out, _ = self(*words, "--json")
        assert code == 0
        return json.loads(out)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> SuiteCli:
    return SuiteCli(monkeypatch, capsys, "suite")


def test_list(cli: SuiteCli) -> None:
    code, out, _ = cli("list")
    assert code == 0
    for fact in cli.json("list"):
        assert f"{fact['name']}  {fact['cases']} cases" in out
        assert fact["cases"] == len(plan(load_suite(fact["name"])))
        lines = out.partition(f"{fact['name']}  {fact['cases']} cases")[2].splitlines()[1:]
        about = list(takewhile(lambda line: line.startswith("  "), lines))
        assert " ".join(line.strip() for line in about) == fact["description"].strip()
    assert [fact["name"] for fact in cli.json("list")] == suite_names()


def test_suites_are_found_by_tag(cli: SuiteCli) -> None:
    def named(*words: str) -> list[str]:
        return [fact["name"] for fact in cli.json("list", *words)]

    assert named("--tag", "video") == ["hunyuan", "mochi", "wan"]
    assert named("-t", "gpu", "-t", "default") == ["smoke_gpu"]
    assert named("-t", "cpu", "-t", "gpu") == []
    code, out, err = cli("list", "--tag", "gpus")
    assert (code, out, err) == (2, "", "radialbench: unknown tag 'gpus'; did you mean 'gpu'?\n")


def test_plan_of_a_shard(cli: SuiteCli) -> None:
    words = [("plan", "wan"), *(("plan", "wan", "--shard", f"{place}/2") for place in (1, 2))]
    whole, *parts = ([fact["case"] for fact in cli.json(*each)] for each in words)
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert cli("plan", "wan", "--shard", "x")[0] == 2


@pytest.mark.parametrize("name", suite_names())
def test_show_prints_the_file(name: str, cli: SuiteCli) -> None:
    code, out, _ = cli("show", name)
    assert (code, out) == (0, (LIBRARY / f"{name}.yaml").read_text(encoding="utf-8"))


def test_show_as_json_has_the_defaults(cli: SuiteCli) -> None:
    facts = cli.json("show", "smoke")
    assert (facts["name"], facts["device"], len(facts["cases"])) == ("smoke", "cpu", 10)
    matrix = facts["cases"][0]
    assert matrix["masks"] == ["radial", "sta", "svg_spatial", "svg_temporal", "dense"]
    assert matrix["grids"][0] == "wan2.1-1.3b/3x30x52"
    assert matrix["protocol"]["target"] == 0.01
    assert matrix["backends"][0]["config"]["block_m"] == 128


@pytest.mark.parametrize("name", suite_names())
def test_validate_and_plan_shipped_suites(
    name: str, cli: SuiteCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = plan(load_suite(name))
    # What takes long is left to a run.
    monkeypatch.setattr("radialbench.maskgen.compiler.bind", None)
    code, out, _ = cli("validate", name)
    assert code == 0
    assert " ".join(out.split()).endswith(f"{name}.yaml: a suite of {len(cases)} cases")
    assert [fact["case"] for fact in cli.json("plan", name)] == [case.id for case in cases]


def test_plan_has_a_line_a_case(cli: SuiteCli) -> None:
    code, out, _ = cli("plan", "smoke", "--filter", "radial/", "-f", "sdpa")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["tokens", "configuration", "case"]
    assert len(lines) == 2 + 17
    assert lines[2].split() == ["4,680", "default", "radial/wan2.1-1.3b/3x30x52/h1d128f32/cpu"]


def test_plan_says_where_configurations_come_from(
    cli: SuiteCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small.written(tmp_path, small.text_of(small.left_open))
    first, *_ = plan(load_suite(str(path)))
    configs = written(tmp_path, fresh_for(first.problem, "cpu", config=KernelConfig(64, 32)))
    monkeypatch.setenv(VARIABLE, str(configs))
    code, out, _ = cli("plan", path)
    assert code == 0
    sources = [line.split()[1] for line in out.splitlines()[2:]]
    assert sources == ["tuned", "transferred", "transferred", "transferred"]
    facts = cli.json("plan", path)
    assert [fact["config_source"] for fact in facts] == sources
    assert facts[0]["config"]["block_m"] == 64
    assert facts[0]["config_reason"].startswith("tuned for this problem, there 1.25 times")
    assert [fact["case"] for fact in facts] == [case.id for case in plan(load_suite(str(path)))]


def test_a_plan_with_records_that_cannot_be_read(
    cli: SuiteCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    code, out, err = cli("plan", "smoke")
    assert (code, out) == (2, "")
    assert err.startswith("radialbench: RADIALBENCH_CONFIGS names ")


def test_schema_is_one_of_suites(cli: SuiteCli) -> None:
    code, out, _ = cli("schema")
    assert code == 0
    schema = json.loads(out)
    assert errors(schema, small.DOCUMENT) == []
    assert errors(schema, small.DOCUMENT | {"casess": 1})


def test_bad_files_are_reported_with_line_and_column(cli: SuiteCli, tmp_path: Path) -> None:
    path = small.written(tmp_path, small.text_of(lambda d: d.update(casess=1)))
    for verb in ("validate", "plan", "show"):
        code, out, err = cli(verb, path)
        assert (code, out) == (2, "")
        assert err == (
            f"radialbench: {path}:22:1: suite: unknown key 'casess'; did you mean 'cases'?\n"
        )


def test_an_unknown_suite(cli: SuiteCli) -> None:
    code, _, err = cli("plan", "smok")
    assert (code, err) == (2, "radialbench: unknown suite 'smok'; did you mean 'smoke'?\n")


def test_planning_loads_no_torch() -> None:
    for words in (["suite", "plan", "smoke"], ["suite", "list"], ["suite", "schema"]):
        assert not loaded(HELP.format(arguments=words)) & {"torch", "triton", "pandas", "optuna"}
