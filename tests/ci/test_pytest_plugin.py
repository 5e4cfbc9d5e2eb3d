"""`pytest --radialbench-baseline`: a test a verdict, and nothing at all where it is not asked."""

import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from radialbench.records.store import RESULTS, read
from tests.ci.conftest import case
from tests.ci.runner import ROOT
from tests.test_import import HEAVY, loaded

pytest_plugins = ["pytester"]

Results = Callable[..., Path]
Run = Callable[..., pytest.RunResult]

PLUGIN = "radialbench.pytest_plugin"
LOADED = f"import sys\ndef test_nothing_heavy():\n    assert not {HEAVY!r} & set(sys.modules)\n"


@pytest.fixture
def tmp_path(pytester: pytest.Pytester) -> Path:
    """Where the inner pytest runs."""
    return pytester.path


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest in a process of its own, with this plug-in only, warnings as errors."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makepyfile("def test_own(): pass")

    def ran(*words: object, plugins: tuple[str, ...] = (PLUGIN,)) -> pytest.RunResult:
        chosen = [word for name in plugins for word in ("-p", name)]
        return pytester.runpytest_subprocess("-W", "error", *chosen, *map(str, words))

    return ran


@pytest.fixture
def pair(results: Results) -> tuple[str, ...]:
    """Options for one case of each kind."""
    before = results("before", case("slow"), case("few"), case("same"))
    now = results("now", case("slow", 1.08), case("few", calls=3), case("same"), case("new"))
    return "--radialbench-baseline", str(before), "--radialbench-results", str(now)


def test_a_verdict_is_a_test(run: Run, pair: tuple[str, ...]) -> None:
    done = run(*pair, "-v", "-ra")
    done.assert_outcomes(passed=9, failed=1, skipped=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "radialbench: *now against *before/results.jsonl",
            "before/results.jsonl::slow[[]latency[]] FAILED*",
            "*_ slow[[]latency[]] _*",
            "regressed: 8.0% slower (95% +?.?% to +??.?%), at least 2%*",
            "now / before: 1.080 (95% 1.0?? to 1.1??)",
            "SKIPPED*few[[]latency[]]: inconclusive: too few samples*",
            "FAILED before/results.jsonl::slow[[]latency[]] - *regressed: 8.0% slower*",
        ]
    )
    assert "Traceback" not in done.stdout.str()


@pytest.mark.parametrize(
    ("choice", "outcomes"),
    [("xfail", {"passed": 9, "failed": 1, "xfailed": 1}), ("fail", {"passed": 9, "failed": 2})],
)
def test_inconclusive_is_what_was_asked_for(
    choice: str, outcomes: dict[str, int], run: Run, pair: tuple[str, ...]
) -> None:
    run(*pair, "--radialbench-inconclusive", choice).assert_outcomes(**outcomes)


def test_tests_are_chosen_as_any(run: Run, pair: tuple[str, ...]) -> None:
    baseline = f"{pair[1]}/{RESULTS}"
    run(*pair, baseline).assert_outcomes(passed=8, failed=1, skipped=1)
    run(*pair, f"{baseline}::slow[latency]").assert_outcomes(failed=1)
    run(*pair, f"{baseline}::slow").assert_outcomes(passed=2, failed=1)
    run(*pair, "-k", "memory").assert_outcomes(passed=3, deselected=8)


def test_processes_share_the_verdicts(run: Run, pair: tuple[str, ...]) -> None:
    done = run(*pair, "-n", "2", plugins=(PLUGIN, "xdist"))
    done.assert_outcomes(passed=9, failed=1, skipped=1)


def test_other_plugins_may_be_off(run: Run, pair: tuple[str, ...]) -> None:
    off = ("no:cacheprovider", "no:skipping", "no:junitxml", "no:assertion", "no:logging")
    run(*pair, plugins=(PLUGIN, *off)).assert_outcomes(passed=9, failed=1, skipped=1)
    assert run(*pair, plugins=(PLUGIN, "no:terminal")).ret == pytest.ExitCode.TESTS_FAILED


def test_missing_cases_fail_unless_allowed(run: Run, results: Results) -> None:
    before, now = results("before", case("a"), case("b")), results("now", case("a"))
    pair = ("--radialbench-baseline", before, "--radialbench-results", now)
    done = run(*pair)
    done.assert_outcomes(passed=4, failed=1)
    done.stdout.fnmatch_lines(["missing: only the baseline has this case"])
    run(*pair, "--radialbench-options=--allow-missing").assert_outcomes(passed=4)


def test_a_suite_is_measured_first_and_once(
    suite: Path, measured: Path, run: Run, tmp_path: Path
) -> None:
    given = ("--radialbench-baseline", measured, "--radialbench-suite", suite)
    now = tmp_path / "now"
    words = (*given, "--radialbench-results", now, "-n", "2", "-k", "latency")
    done = run(*words, plugins=(PLUGIN, "xdist"))
    done.assert_outcomes(skipped=4)
    assert len(read(now / RESULTS).records) == 4
    again = run(*given, "--radialbench-results", now)
    assert again.ret == pytest.ExitCode.USAGE_ERROR
    again.stderr.fnmatch_lines(["radialbench: *already holds results*", "ERROR: `radialbench run*"])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["--radialbench-baseline=gone", "--radialbench-results=now"],
            "there is no baseline *gone",
        ),
        (
            ["--radialbench-baseline=now", "--radialbench-results=gone"],
            "there are no results at gone*",
        ),
        (["--radialbench-baseline=now"], "say what to check with*"),
        (["--radialbench-results=now"], "say what to compare with*"),
        (
            [
                "--radialbench-baseline=now",
                "--radialbench-results=now",
                "--radialbench-options=--gate x=1%",
            ],
            "unknown metric 'x'*",
        ),
    ],
)
def test_bad_input_is_a_usage_error(words: list[str], why: str, run: Run, results: Results) -> None:
    results("now", case("a"))
    done = run(*words)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: radialbench: {why}"])
    assert "Traceback" not in done.stdout.str() + done.stderr.str()


def test_where_it_is_not_asked_nothing_is_loaded(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LOADED)
    run().assert_outcomes(passed=1)
    assert not loaded(f"import {PLUGIN}") & HEAVY


def test_pytest_finds_it() -> None:
    facts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (named,) = facts["project"]["entry-points"]["pytest11"].values()
    assert named == PLUGIN
    assert hasattr(import_module(named), "pytest_addoption")
