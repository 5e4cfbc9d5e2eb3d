"""Cases whose machine code is the same in two versions, and what makes it another."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from radialbench.suites.versus import Version, this_version
from radialbench.suites.versus.machine_code import FactsError, facts, unchanged
from tests.suites import small
from tests.suites.versions import BARRIER, NOTHING, changed, one_kernel

SUITE = Path("small.yaml")


@dataclass(frozen=True)
class Told(Version):
    """A version that tells made-up facts.

    Attributes:
        facts: They.
        error: What it says instead.
    """

    facts: dict[str, Any]
    error: str = ""

    def run(self, words: Sequence[str | Path]) -> tuple[int, str, str]:
        return int(bool(self.error)), f"noise\n{json.dumps(self.facts)}\n", self.error


def told(cases: dict[str, str], launches: str = "l", error: str = "") -> Told:
    return Told("v1", Path(), {"launches": launches, "cases": cases}, error)


def test_what_is_equal_in_all_is_unchanged() -> None:
    one = told({"a": "1", "b": "1", "c": "1"})
    assert unchanged(SUITE, [one, told({"a": "1", "b": "2", "d": "1"})]) == {"a"}
    assert unchanged(SUITE, [one, told({"a": "1"}, launches="m")]) == frozenset()
    assert unchanged(SUITE, [one, told({})]) == frozenset()


def test_a_version_that_cannot_tell_is_named() -> None:
    bad = told({}, error="Traceback\nImportError: no name 'KERNELS'\n")
    with pytest.raises(FactsError, match="v1 does not report its machine code: ImportError"):
        unchanged(SUITE, [told({}), bad])


def test_cases_without_machine_code_are_always_timed(tmp_path: Path) -> None:
    assert facts(str(small.written(tmp_path)), 90) == {"launches": "", "cases": {}}


@pytest.mark.slow
def test_comments_change_nothing_and_a_barrier_does(tmp_path: Path) -> None:
    suite = small.written(tmp_path, small.text_of(one_kernel))
    (case,) = plan(load_suite(str(suite)))
    same = changed(tmp_path / "same", *NOTHING)
    other = changed(tmp_path / "other", *BARRIER)
    assert unchanged(suite, [this_version(), same], arch=90) == {case.id}
    assert unchanged(suite, [this_version(), other], arch=90) == frozenset()
