"""The pytest plug-in: `pytest --radialbench-baseline FILE` makes every verdict of a check a test.

It is imported whenever pytest starts, so nothing is imported here that pytest has not imported.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Facts = dict[str, Any]
"""A verdict in the form of `radialbench check --format json`."""

VERDICTS = "radialbench_verdicts"
RADIALBENCH = [sys.executable, "-P", "-m", "radialbench"]

FAIL = ("regressed", "missing", "fail", "differs")
"""Outcomes that fail; an option decides on inconclusive ones."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("radialbench", "checks for regressions")
    group.addoption(
        "--radialbench-baseline",
        metavar="FILE",
        help="Make every verdict of `radialbench check` against these results a test.",
    )
    group.addoption(
        "--radialbench-results",
        metavar="DIR",
        help="The results to check; with --radialbench-suite, where they go.",
    )
    group.addoption(
        "--radialbench-suite",
        metavar="SUITE",
        help="Measure first: a shipped suite, or a YAML file.",
    )
    group.addoption(
        "--radialbench-options",
        metavar="WORDS",
        default="",
        help="More options of `radialbench check`, such as ='--gates gates.yaml'.",
    )
    group.addoption(
        "--radialbench-inconclusive",
        choices=("skip", "xfail", "fail"),
        default="skip",
        help="What becomes of a test whose samples cannot tell (default: skip).",
    )
    group.addoption(
        "--radialbench-update",
        action="store_true",
        help="Write the goldens and times that tests name, instead of comparing with them.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the checks if a baseline is given."""
    suite, results = _given(config, "suite"), _given(config, "results")
    if _given(config, "baseline") is None:
        if suite or results:
            raise pytest.UsageError("radialbench: say what to compare with --radialbench-baseline")
        return
    if not (suite or results):
        raise pytest.UsageError(
            "radialbench: say what to check with --radialbench-results or --radialbench-suite"
        )
    config.pluginmanager.register(_Checks(config), "radialbench-checks")


@pytest.fixture
def compare_times(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Time a call, and fail the test if it is slower by a gate than another one, or than it was.

        def test_mine_is_no_slower(compare_times):
            compare_times(lambda: mine(q, k, v), against=lambda: theirs(q, k, v), gate="5%")
            compare_times(lambda: mine(q, k, v), against="mine.json", gate="5%")

    Arguments and result are those of `radialbench.testing.compare_times`; a file is beside the
    test. What becomes of a test whose samples cannot tell says `--radialbench-inconclusive`.
    """

    def compared(call: Any, against: Any, *, gate: str = "5%", **given: Any) -> Any:
        from radialbench import testing

        if not callable(against):
            against = _stored(request, against)
            if _updates(request):
                with _one_sentence():
                    testing.save_times(call, against, **given)
                return None
        with _one_sentence():
            times = testing.compare_times(call, against, gate=gate, **given)
        outcome = times.verdict
        if outcome == "inconclusive":
            outcome = _given(request.config, "inconclusive") or "skip"
        if outcome == "skip":
            pytest.skip(f"inconclusive: {times.text}")
        if outcome == "xfail":
            pytest.xfail(f"inconclusive: {times.text}")
        if outcome in FAIL:
            pytest.fail(f"{times.verdict}: {times.text}", pytrace=False)
        return times

    return compared


@pytest.fixture
def compare_golden(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Fail the test if what a call returned is not what it returned before.

        def test_the_layer_is_as_it_was(compare_golden):
            compare_golden(layer(x), "layer.safetensors", rtol=1e-3, atol=1e-5)

    Arguments and result are those of `radialbench.testing.compare_golden`; the file is beside the
    test, and `--radialbench-update` writes it.
    """

    def compared(outputs: Any, path: Any, **given: Any) -> Any:
        from radialbench import testing

        file = _stored(request, path)
        with _one_sentence():
            if not _updates(request):
                found = testing.compare_golden(outputs, file, **given)
                if found.verdict in FAIL:
                    pytest.fail(found.text, pytrace=False)
                return found
            testing.save_golden(outputs, file)
        return None

    return compared


def _stored(request: pytest.FixtureRequest, path: str | Path) -> Path:
    """Return a file beside the test; fail if it has to be there and is not."""
    file: Path = request.path.parent / path
    if not (file.exists() or _updates(request)):
        pytest.fail(f"there is no {file}: pytest --radialbench-update writes it", pytrace=False)
    return file


def _updates(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("radialbench_update"))


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Fail the test with the sentence of a wrong file or argument."""
    from radialbench.errors import RadialBenchError

    try:
        yield
    except RadialBenchError as error:
        pytest.fail(str(error), pytrace=False)


class _Checks:
    """Measures, checks, and collects the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        # A file, or a run's folder with one.
        path = (config.invocation_params.dir / (_given(config, "baseline") or "")).resolve()
        results = path / "results.jsonl"
        self._baseline = results if results.is_file() else path
        self._results = _given(config, "results") or ""
        self._verdicts: list[Facts] = []
        self._collected = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Check before the collection, in the first process only under pytest-xdist."""
        passed = getattr(self._config, "workerinput", None)
        self._verdicts = passed[VERDICTS] if passed else self._check()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the verdicts to a process of pytest-xdist's."""
        node.workerinput[VERDICTS] = self._verdicts

    def pytest_report_header(self) -> str:
        return f"radialbench: {self._results} against {self._baseline}"

    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """Collect the tests where the baseline is named among the files to run."""
        if self._collected or file_path.resolve() != self._baseline:
            return None
        return self._tests(parent)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add the tests to the session where it is not named."""
        report = yield
        if isinstance(collector, pytest.Session):
            if not any(isinstance(node, _File | _Verdict) for node in report.result):
                report.result.append(self._tests(collector))
            self._collected = True
        return report

    def _tests(self, parent: pytest.Collector) -> pytest.Collector:
        return _File.from_parent(parent, path=self._baseline, verdicts=self._verdicts)

    def _check(self) -> list[Facts]:
        # Before minutes are spent on measuring.
        if not self._baseline.exists():
            raise pytest.UsageError(f"radialbench: there is no baseline {self._baseline}")
        if suite := _given(self._config, "suite"):
            self._results = self._results or tempfile.mkdtemp(prefix="radialbench-")
            self._measure(suite)
        options = shlex.split(_given(self._config, "options") or "")
        words = ["check", self._results, "--baseline", str(self._baseline), *options]
        done = subprocess.run(
            [*RADIALBENCH, *words, "--format", "json"],
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        try:
            found: list[Facts] = json.loads(done.stdout)["verdicts"]
        except ValueError:
            raise pytest.UsageError(done.stderr.strip() or done.stdout) from None
        gone = {"missing"} if "--allow-missing" in options else set()
        return [one for one in found if one["outcome"] not in gone]

    def _measure(self, suite: str) -> None:
        """Run a suite; a case that fails is for the check to judge."""
        words = ["run", suite, "-o", self._results]
        from radialbench.suites.keeper import run_kept

        code = run_kept([*RADIALBENCH, *words], stdout=subprocess.DEVNULL).returncode
        if code not in (0, 1):
            raise pytest.UsageError(
                f"`{shlex.join(['radialbench', *words])}` ended with exit code {code}, for the "
                "reason above"
            )


class _File(pytest.File):
    """A baseline: one test for each verdict."""

    def __init__(self, *, verdicts: list[Facts], **given: Any) -> None:
        super().__init__(**given)
        self._verdicts = verdicts

    def collect(self) -> Iterator[pytest.Item]:
        from radialbench.reports.text import printable

        for one in self._verdicts:
            name = f"{printable(one['case'])}[{one['metric']}]"
            yield _Verdict.from_parent(self, name=name, facts=one)


class _Verdict(pytest.Item):
    """A case and a metric: fails if it is worse, with the reason and the ratio."""

    def __init__(self, *, facts: Facts, **given: Any) -> None:
        super().__init__(**given)
        self._facts = facts

    def runtest(self) -> None:
        from radialbench.reports.text import printable

        outcome = self._facts["outcome"]
        facts, reason = self._facts, f"{outcome}: {printable(self._facts['reason'])}"
        if outcome == "inconclusive":
            outcome = _given(self.config, "inconclusive")
        if outcome == "skip":
            pytest.skip(f"{self.name}: {reason}")
        if outcome == "xfail":
            pytest.xfail(reason)
        if outcome in FAIL:
            if facts["ratio"] is not None:
                reason += f"\nnow / before: {facts['ratio']:.3f}"
            if facts["low"] is not None:
                reason += f" (95% {facts['low']:.3f} to {facts['high']:.3f})"
            pytest.fail(reason, pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


def _given(config: pytest.Config, name: str) -> str | None:
    given: str | None = config.getoption(f"radialbench_{name}")
    return given
