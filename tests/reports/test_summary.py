from dataclasses import replace

from radialbench.records.result import Status
from radialbench.reports.rows import DENSE
from radialbench.reports.summary import protocol, summarize
from tests.reports.factory import elsewhere, ended, made

SOUND = [made(DENSE, samples=(4.0, 4.0)), made(samples=(1.0, 2.0, 4.0))]


def test_a_sound_file_needs_no_notes() -> None:
    summary = summarize(SOUND)
    assert summary.notes == ()
    assert summary.reasons == {}
    assert summary.counted == "2 ok"


def test_what_a_reader_should_know_is_noted() -> None:
    failed = ended(Status.FAILED, "killed", SOUND[1])
    there = elsewhere([made("sta", samples=(1.0,))], cpu="Other\x1b", commit="fff")
    summary = summarize([failed, *SOUND, *there], skipped=["line 3: not a whole line of JSON"])
    assert summary.notes == (
        "line 3: not a whole line of JSON; skipped",
        "1 earlier record of the same case left out: the last counts",
        "the records come from 2 environments (cpu: Example 3000 and Other\ufffd): "
        "times are compared within one only",
        "the records come from several commits: 0123abc and fff",
        "1 of 3 times are of one sample: how much they vary is not known",
        "1 case without a speed-up: dense ran in another environment",
    )


def test_gpus_of_one_kind_are_noted() -> None:
    one, other = ({"device": "Example GPU", "card": card} for card in ("0123abc", "4567def"))
    third = {"device": "Other GPU", "card": "89ab012"}
    mixed = [*elsewhere(SOUND[:1], **one), *elsewhere(SOUND[1:], **other)]
    assert "2 GPUs were used (Example GPU): times of two may be 1% apart" in summarize(mixed).notes
    alike = [*elsewhere(SOUND, **one), *elsewhere([made("sta", samples=(1.0, 2.0))], **third)]
    assert not any("GPUs were used" in note for note in summarize(alike).notes)


def test_counts() -> None:
    records = [*SOUND, ended(Status.OOM, "too big", made("sta")), made("sta", backend=None)]
    summary = summarize(records)
    assert summary.counted == "3 ok, 1 oom"
    assert [len(rows) for rows in (summary.timed, summary.compiled, summary.reasons)] == [3, 1, 1]
    assert summarize([]).counted == "no records"


def test_protocol() -> None:
    summary = summarize(SOUND)
    assert protocol(summary.rows) == "samples 2–3, warm-ups 1, cache warm, timer perf_counter"
    clocked = [
        replace(r, timing=replace(r.timing, clocks="1,410 MHz")) if r.timing else r for r in SOUND
    ]
    assert protocol(summarize(clocked).rows).endswith("timer perf_counter, clocks 1,410 MHz")
    assert protocol(()) == "nothing was timed"


def test_cases_of_one_reason_stand_together() -> None:
    records = [ended(Status.OOM, "too big", made("sta", frames)) for frames in (3, 5, 9, 17, 33)]
    records.append(ended(Status.FAILED, "too big", made()))
    reasons = summarize(records).reasons
    assert {key: len(cases) for key, cases in reasons.items()} == {
        (Status.OOM, "too big"): 5,
        (Status.FAILED, "too big"): 1,
    }


def test_a_notebook_shows_the_headlines() -> None:
    shown = summarize([made(DENSE, samples=(8.0,)), made("a<b", samples=(2.0,))])._repr_html_()
    assert "4.00×" in shown
    assert "a&lt;b" in shown
    assert "a<b" not in shown
