import math
from dataclasses import replace

import pytest

from radialbench.maskgen.grid import TokenGrid
from radialbench.records.measurement import Memory
from radialbench.records.problem import KernelConfig
from radialbench.records.result import Record, Status
from radialbench.reports.growth import LOG, Verdict
from radialbench.reports.narrative import describe_scaling
from radialbench.reports.rows import DENSE, rows_of
from radialbench.reports.scaling import Scaling, scaling
from tests.reports.factory import ended, made, swept, table

FRAMES = (5, 9, 17, 33, 65, 129, 257)
LOG_SHARES = {frames: 0.3 * math.log2(frames) / frames for frames in FRAMES}
SHORT = {frames: LOG_SHARES[frames] for frames in FRAMES[:4]}
DENSE_SHARES = dict.fromkeys(FRAMES, 1.0)


def found(records: list[Record]) -> Scaling:
    return scaling(rows_of(records)[0])


def said(records: list[Record], topic: str) -> list[str]:
    told = {one.topic.split(",")[0]: one.lines for one in describe_scaling(found(records))}
    return list(told.get(topic, ()))


def test_work_comes_from_every_table_whatever_became_of_the_case() -> None:
    timed = swept("radial", {5: 0.9, 9: 0.8})
    compiled = [made("radial", 17, backend=None, share=0.5)]
    killed = [ended(Status.FAILED, "killed", made("radial", 33, share=0.4))]
    unknown = [replace(ended(Status.OOM, "too big", made("radial", 65)), table=None)]
    (work,) = found([*timed, *compiled, *killed, *unknown]).works
    assert work.exact.frames == (5, 9, 17, 33)
    assert [one.density for one in work.tables] == pytest.approx([0.9, 0.8, 0.5, 0.4], rel=1e-6)
    assert work.exact.values[0] == work.tables[0].flops / 1e12


def test_other_blocks_execute_other_work_of_the_same_mask() -> None:
    records = swept("radial", LOG_SHARES)
    blocks = KernelConfig(64, 64)
    small = [replace(r, config=blocks, case=f"{r.case}@64x64") for r in records]
    one, other = found([*records, *small]).works
    assert (one.blocks, other.blocks) == ((128, 128), (64, 64))
    told = said([*records, *small], "Growth of the work")
    (line,) = [line for line in told if line.startswith("radial")]
    assert "Blocks of 128×128" in line
    assert "Blocks of 64×64" in line
    assert line.count("exact work follows") == 1


def test_growth_is_told_with_its_rivals() -> None:
    lines = said([*swept("radial", LOG_SHARES), *swept(DENSE, DENSE_SHARES)], "Growth of the work")
    dense, radial = lines[1:]
    assert dense == "dense: every pair attends: n² by definition."
    assert radial.startswith(
        "radial: over 5 to 257 frames of 1,560 tokens the exact work follows n(a + b·log2 F) "
        "(RMS log-residual "
    )
    assert "a·n + b·n^1.5 leaves" in radial
    assert "a·n + b·n² leaves" in radial
    assert radial.endswith("at 257, and follow the same form.")


def test_a_short_sweep_claims_nothing() -> None:
    (work,) = found(swept("radial", SHORT)).works
    assert work.exact.verdict is Verdict.CANNOT_TELL
    assert not work.bends
    (line,) = said(swept("radial", SHORT), "Growth of the work")[1:]
    assert line.startswith("radial: 4 lengths up to 33 frames cannot tell the forms apart;")
    assert "follows" not in line


def test_executed_work_of_another_form_is_told() -> None:
    records = swept("radial", LOG_SHARES)
    grown = [
        replace(
            r,
            table=replace(r.table, executed_flops=round(r.problem.seq_len**1.9))
            if r.table
            else None,
        )
        for r in records
    ]
    (work,) = found(grown).works
    assert (work.exact.verdict, work.exact.fits[0].form) == (Verdict.FOLLOWS, LOG)
    assert work.bends
    (line,) = said(grown, "Growth of the work")[1:]
    assert "what is executed" in line
    assert "follow the same form" not in line


def test_masks_with_the_same_work_share_a_line() -> None:
    records = [*swept("one", LOG_SHARES), *swept("two", LOG_SHARES), *swept("other", SHORT)]
    lines = said(records, "Growth of the work")[1:]
    assert [line.split(":")[0] for line in lines] == ["one and two", "other"]


def test_a_single_length_has_no_growth() -> None:
    assert said([made()], "Growth of the work") == []
    assert describe_scaling(found([made()])) == ()


def test_latency_in_proportion_to_executed_work() -> None:
    records = swept("radial", LOG_SHARES)
    (latency,) = found(records).latencies
    assert latency.executed is not None
    assert latency.executed.value == pytest.approx(1, abs=0.01)
    assert latency.executed.holds(1)
    (line,) = said(records, "Latency against executed work")[1:]
    assert line.startswith("radial on cpu: 1.00 (")
    assert "), in proportion; n^" in line


@pytest.mark.parametrize(
    ("power", "verdict"), [(1.3, "more than in proportion"), (0.7, "less than in proportion")]
)
def test_latency_out_of_proportion(power: float, verdict: str) -> None:
    records = [
        made("radial", frames, samples=[frames ** (2 * power)] * 3, share=0.5) for frames in FRAMES
    ]
    (line,) = said(records, "Latency against executed work")[1:]
    assert f"radial on cpu: {power:.2f} (" in line
    assert verdict in line


def test_scattered_latency_claims_nothing() -> None:
    factors = (3, 0.3, 2, 0.4, 3, 0.2, 2)
    records = [
        made("radial", frames, samples=[factor * frames**2.0], share=0.5)
        for frames, factor in zip(FRAMES, factors, strict=True)
    ]
    lines = said(records, "Latency against executed work")[1:]
    assert "too uncertain to say more" in lines[0]
    assert "in proportion" not in lines[0]
    assert lines[1].startswith("Where a case has one sample, the interval covers the scatter")


def test_the_token_order_is_not_part_of_the_law() -> None:
    plain, ordered = (found(swept("sta", LOG_SHARES, order=o)).latencies for o in (0.0, 1e4))
    assert plain == ordered


def test_memory() -> None:
    records = [
        replace(made("radial", frames), memory=Memory(frames * 10**6, "rss")) for frames in FRAMES
    ]
    (latency,) = found(records).latencies
    assert latency.peak_exponents == pytest.approx([1.0] * 6)
    lines = said(records, "Memory")
    assert "attention's own memory is linear in n" in lines[0]
    assert lines[1] == "A call at 400,920 tokens adds at its peak: radial on cpu 245 MiB (n^1.00)."
    assert lines[2].startswith("Tables at 400,920 tokens: radial ")


def test_memory_that_is_not_known_is_not_told() -> None:
    records = [replace(made("radial", f), memory=Memory(None, "no mark")) for f in FRAMES]
    records[0] = replace(records[0], memory=None)
    assert found(records).latencies[0].peaks == ()
    assert not any("adds at its peak" in line for line in said(records, "Memory"))


def resized(mask: str, share: float, sizes: tuple[int, ...]) -> list[Record]:
    records = []
    for size in sizes:
        record = made(mask)
        problem = replace(record.problem, grid=TokenGrid(9, 1, size))
        case = f"{mask}/{problem.grid.label}"
        stats = table(9 * size, share)
        records.append(replace(record, case=case, problem=problem, table=stats))
    return records


def test_resolutions_are_quadratic_by_construction() -> None:
    records = [*resized("radial", 0.5, (1000, 2000, 4000)), *resized("sta", 0.1, (1000, 2000))]
    first, second = found(records).resolutions
    assert first.frame_tokens == (1000, 2000, 4000)
    assert first.exponents == pytest.approx((2, 2), abs=1e-3)
    assert second.mask == "sta"
    lines = said(records, "Resolution")
    assert "quadratic by construction" in lines[0]
    assert lines[1] == "radial, 1,000, 2,000 and 4,000 tokens a frame: n^2.00."


def test_frames_alone_are_no_resolution_sweep() -> None:
    assert found(swept("radial", LOG_SHARES)).resolutions == ()


def test_several_sweeps_are_named() -> None:
    wide = [replace(r, case=f"wide {r.case}", model="wide") for r in swept("radial", LOG_SHARES)]
    lines = said([*swept("radial", LOG_SHARES), *wide], "Growth of the work")[1:]
    assert lines[0].startswith("radial, Fx30x52 h1d128f32: over")
    assert lines[1].startswith("radial, wide Fx30x52 h1d128f32: over")
