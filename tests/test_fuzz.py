"""The targets of fuzzing: their seeds, what once failed, and a few thousand seeded changes."""

import random

import pytest

from fuzz.run import FOUND, mutated
from fuzz.targets import TARGETS, VALUES

CHANGED = 120

every_target = pytest.mark.parametrize("name", TARGETS)


@every_target
def test_seeds_and_what_once_failed(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert len(seeds) >= 3
    for data in [*seeds, *(path.read_bytes() for path in sorted((FOUND / name).glob("*")))]:
        target.run(data)


@every_target
def test_changed_files_are_read_or_refused(name: str) -> None:
    target, dice = TARGETS[name], random.Random(name)
    seeds, words = target.seeds(), (*VALUES, *target.words)
    for _ in range(CHANGED):
        target.run(mutated(dice.choice(seeds), words, dice))


def test_a_finding_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        monkeypatch.setattr("fuzz.targets.read", lambda path: 1 // 0)
        TARGETS["results"].run(b"")
