"""A search that is killed at any moment goes on, and no trial is lost or repeated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radialbench.autotune.store import open_store
from tests.autotune import killed

SEED = 3
FEWEST = 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "trials"), [("journal:{}/tuning.journal", 100), ("sqlite:///{}/tuning.db", 40)]
)
def test_no_kill_loses_a_trial_or_repeats_one(tmp_path: Path, url: str, trials: int) -> None:
    storage = url.format(tmp_path)
    words = [storage, str(trials), str(SEED)]
    command = [sys.executable, "-m", "tests.autotune.killed", *words]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    lives = [json.loads(line) for line in told.stdout.splitlines()]
    kills = sum(life["killed"] for life in lives)
    assert kills >= FEWEST
    said = [words.split() for life in lives for words in life["said"]]
    kept: set[str] = set()
    for word, place in said:
        assert place not in kept, "what was kept is tried again"
        if word == "keeps":
            kept.add(place)
    tries = sum(word == "tries" for word, _ in said)
    assert trials <= tries <= trials + kills
    # The same trials in the same order as without a kill.
    with Path(os.devnull).open("wb") as nothing:
        whole = killed.searched(trials, nothing.fileno())
    assert open_store(storage, "s", killed.AMONG).trials() == list(whole.trials)


@pytest.mark.slow
def test_two_searches_at_once_share_the_work(tmp_path: Path) -> None:
    storage = f"journal:{tmp_path}/tuning.journal"
    code = (
        "import sys; from tests.autotune import killed\n"
        "killed.searched(int(sys.argv[2]), 1, sys.argv[1])"
    )
    command = [sys.executable, "-c", code, storage, "60"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate()[0].splitlines() for one in both]
    assert [one.returncode for one in both] == [0, 0]
    tried = [words for lines in said for words in lines if words.startswith("tries")]
    assert len(tried) == len(set(tried))
    assert 60 <= len(tried) <= 61
    assert all(len(lines) > 20 for lines in said)
    trials = open_store(storage, "s", killed.AMONG).trials()
    assert len({trial.config for trial in trials}) == len(trials) == len(tried)
