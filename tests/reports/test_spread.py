"""Samples that vary much, and the load that explains it."""

from dataclasses import replace

import pytest

from radialbench.records.result import Record
from radialbench.reports.spread import spread_note
from radialbench.reports.summary import summarize
from tests.reports.factory import made

CALM = (1.0, 1.01, 1.02, 1.01, 1.0, 1.03)
WILD = (1.0, 3.0, 1.0, 3.0, 1.0, 3.0)


def under(load: float | None, record: Record) -> Record:
    return replace(record, environment=replace(record.environment, load=load))


@pytest.mark.parametrize(
    "records",
    [[], [made(samples=CALM)], [made(samples=WILD[:5])], [under(4.0, made(samples=CALM))]],
    ids=["none", "calm", "few", "busy and calm"],
)
def test_nothing_is_said_of_samples_that_agree(records: list[Record]) -> None:
    assert spread_note(records) is None


def test_what_varies_is_said_with_the_load() -> None:
    wild = under(3.86, made("sta", samples=WILD))
    note = spread_note([made(samples=CALM), wild])
    assert note == (
        "the samples of 1 case vary by more than 25% between their quartiles, those of "
        f"{wild.case} by 100%: other work disturbs them on this machine, which had 3.9 processes "
        "for each core; measure again when it is idle"
    )
    assert note in summarize([wild]).notes
    for idle in (None, 0.2):
        found = spread_note([under(idle, wild)])
        assert found is not None
        assert "on this machine; measure again" in found
