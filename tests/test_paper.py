"""The paper page, from computed figures and committed records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import paper
from benchmarks.pages import DOCS
from benchmarks.paper import (
    HUNYUAN,
    RADIAL,
    STEP,
    WAN,
    PartTime,
    VideoTimes,
    amdahl,
    call_table,
    inside_table,
    of_videos,
    part_table,
    sum_table,
    video_table,
)
from benchmarks.parts import read_lines
from radialbench.errors import RecordError
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.work import Schedule
from radialbench.records.measurement import Measurement
from radialbench.records.result import Record, Status
from radialbench.records.store import append, read
from radialbench.reports.page.assemble import page as render
from radialbench.reports.paper import attention_rows
from radialbench.reports.paper_reference import VIDEOS, PaperFigures, Video
from radialbench.reports.summary import summarize
from radialbench.suites.plan import plan
from radialbench.suites.read import load_suite
from tests.records.sample import ENVIRONMENT
from tests.reports.factory import made

TEXT = (DOCS / "paper.md").read_text(encoding="utf-8")
EVERY = pytest.mark.parametrize("video", VIDEOS, ids=lambda video: video.title)


def test_figures_of_the_text_by_hand_are_the_codes() -> None:
    """Check the sentences that are not generated."""
    assert "12 of 50 steps are dense at the default length, and the first layer for Wan" in TEXT
    assert HUNYUAN.schedule == Schedule(50, 12, 0)
    assert WAN.schedule == Schedule(50, 12, 1)
    assert {v.schedule.dense_steps for v in VIDEOS if v.length > 1} == {2}
    assert {v.schedule.dense_layers for v in VIDEOS if v.length > 1} == {2}
    assert all(video.schedule.steps == video.preset.steps for video in VIDEOS)


@EVERY
def test_the_suite_holds_every_video_with_its_masks_and_baselines(video: Video) -> None:
    cases = [case for case in plan(load_suite("paper")) if case.group == video.group]
    assert {case.backend for case in cases if case.identity.dense} >= {"cudnn", "flash", "fa3"}
    for variant, _ in video.masks:
        found = [case for case in cases if case.identity.name == variant]
        assert "hopper" in {case.backend for case in found}
        assert {case.problem.mask_fingerprint for case in found} == {
            video.mask(variant).fingerprint
        }


def test_the_suite_holds_nothing_else() -> None:
    cases = plan(load_suite("paper"))
    assert {case.group for case in cases} == {video.group for video in VIDEOS}
    assert all(case.in_turn for case in cases if case.measure == "attention")


def test_committed_records_are_of_the_suite_and_sound() -> None:
    records = read(paper.RECORDS).records
    assert [record.case for record in records] == [case.id for case in plan(load_suite("paper"))]
    assert {record.status for record in records} <= {Status.OK, Status.UNSUPPORTED}


def timed(ms: float, count: int = 6) -> Measurement:
    return Measurement((ms,) * count, 1, "warm", "perf_counter", None)


def attention(video: Video, mask: str, backend: str, ms: float, **changes: object) -> Record:
    record = made(mask, samples=(ms,) * 6, backend=backend, share=0.2)
    name = f"{mask}/{video.group}/{backend}"
    model = video.preset
    problem = replace(
        record.problem,
        grid=video.grid,
        heads=model.heads,
        head_dim=model.head_dim,
        dtype="bfloat16",
    )
    record = replace(record, suite="paper", model=video.model, problem=problem, case=name)
    assert record.group == video.group
    return replace(record, **changes)  # type: ignore[arg-type]


def test_attention_is_compared_with_each_dense_kernel() -> None:
    records = [
        attention(HUNYUAN, "dense", "cudnn", 80.0),
        attention(HUNYUAN, "dense", "flash", 120.0),
        attention(HUNYUAN, "radial_blocks", "hopper", 15.0, permute_ms=5.0),
        attention(HUNYUAN, "radial_blocks", "triton", 30.0),
        attention(WAN, "dense", "cudnn", 10.0),
    ]
    (row,) = attention_rows(records)
    assert row[:4] == (HUNYUAN.title, "radial_blocks", "hopper", "20.0")
    assert row[5:9] == ("6.00×", "4.00×", "–", "–")
    # Three tenths of the blocks in a quarter of the fastest kernel's time.
    assert row[4] == "30.0%"
    assert row[9:] == ("120.0%", "1.88×")


def test_our_kernel_without_a_mask_stands_beside_the_other_dense_ones() -> None:
    own = attention(HUNYUAN, "dense", "hopper", 100.0)
    assert own.table is not None
    own = replace(own, table=replace(own.table, block_density=1.0))
    (row,) = attention_rows([own, attention(HUNYUAN, "dense", "fa3", 90.0)])
    assert row[1:3] == ("dense", "hopper")
    assert row[-2:] == ("90.0%", "–")


def test_the_report_has_the_paper_beside_its_own_suite_only() -> None:
    records = [
        attention(HUNYUAN, "dense", "flash", 120.0),
        attention(HUNYUAN, "radial_blocks", "hopper", 20.0),
    ]
    page = render(summarize(records))
    assert '<section id="paper"' in page
    assert "<td>6.00×" in page
    # What is counted, of this video alone.
    assert "<td>569.9<td>612<" in page
    assert "<td>72.2%<td>72.2%" in page
    assert WAN.title not in page
    others = [replace(record, suite="mine") for record in records]
    assert '<section id="paper"' not in render(summarize(others))
    assert '<section id="paper"' not in render(summarize(records[:1]))


def part(video: Video, name: str, count: int, attention: str, ms: float) -> PartTime:
    mask = video.masks[0][0] if attention == RADIAL else "dense"
    created = "2026-11-24T00:00:00+00:00"
    when: dict[str, Any] = {"timing": timed(ms), "environment": ENVIRONMENT, "created": created}
    return PartTime(video.model, video.size, name, count, attention, mask, **when)


PARTS = (
    part(HUNYUAN, "double block", 20, RADIAL, 10.0),
    part(HUNYUAN, "double block", 20, "flash", 30.0),
    part(HUNYUAN, "single block", 40, RADIAL, 5.0),
    part(HUNYUAN, "single block", 40, "flash", 20.0),
)
WHOLE = (part(HUNYUAN, STEP, 1, RADIAL, 500.0), part(HUNYUAN, STEP, 1, "flash", 1500.0))


def test_videos_are_calls_times_the_schedule() -> None:
    layered = replace(HUNYUAN, schedule=Schedule(50, 12, 2))
    blocks = VideoTimes(layered, PARTS)
    assert blocks.call_ms(RADIAL) == 400
    assert blocks.call_ms("flash") == 1400
    assert blocks.video_s("flash", radial=False) == 70
    # 12 dense calls, and 38 in which two double blocks take 30 ms in place of 10.
    own = blocks.video_s("flash", radial=True)
    assert own == pytest.approx(12 * 1.4 + 38 * (0.4 + 0.04), rel=1e-12)
    assert blocks.video_s("cudnn", radial=True) is None
    whole = VideoTimes(HUNYUAN, (*PARTS, *WHOLE))
    assert whole.video_s("flash", radial=True) == 12 * 1.5 + 38 * 0.5
    twice = VideoTimes(replace(WAN, schedule=Schedule(1)), (part(WAN, STEP, 1, "fa3", 500.0),))
    assert twice.video_s("fa3", radial=False) == 1


def test_tables_of_blocks_and_videos() -> None:
    (found,) = of_videos((*PARTS, *WHOLE))
    assert found.kinds() == ["double block", "single block"]
    assert "| double block | " in part_table([found])
    assert "3.00×" in part_table([found])
    assert "80.0%" in sum_table([found])
    line = video_table([found]).splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[2:-1]] == [
        *("FA2", "whole calls", "75.0", "37.0", "2.03×", "1,649", "876", "1.88×", "1")
    ]


def test_the_ideal_is_the_dense_call_less_what_a_perfect_kernel_saves() -> None:
    own, dense = WHOLE
    (without,) = of_videos(WHOLE)
    assert amdahl(without, "flash") is None
    (found,) = of_videos((own, replace(dense, attention_ms=(1200.0,) * 6)))
    reached = amdahl(found, "flash")
    assert reached is not None
    density = compile_mask(HUNYUAN.mask(own.mask), HUNYUAN.grid).density
    assert 0.2 < density < 0.4
    assert reached.value == pytest.approx((1500 - 1200 * (1 - density)) / 500, rel=1e-6)
    assert amdahl(found, "fa3") is None


def test_the_kernel_alone_is_judged_with_the_same_rest_on_both_sides() -> None:
    own, dense = WHOLE
    assert amdahl(of_videos(WHOLE)[0], "flash", rest=RADIAL) is None
    parts = (replace(own, attention_ms=(400.0,) * 6), replace(dense, attention_ms=(1200.0,) * 6))
    (found,) = of_videos(parts)
    reached = amdahl(found, "flash", rest=RADIAL)
    assert reached is not None
    density = compile_mask(HUNYUAN.mask(own.mask), HUNYUAN.grid).density
    # Of 500 ms 100 are not attention.
    assert reached.value == pytest.approx((100 + 1200 * density) / 500, rel=1e-6)


def test_calls_exceed_amdahls_law_as_the_page_describes() -> None:
    assert "Over FA3 and FA4 it exceeds 1 only because all but attention takes less time" in TEXT
    found = [one for one in of_videos(read_lines(paper.TIMES, PartTime)) if one.find(STEP, RADIAL)]
    assert found
    for one in found:
        for peer in ("fa3", "fa4"):
            by_the_law, alone = amdahl(one, peer), amdahl(one, peer, rest=RADIAL)
            assert by_the_law is not None
            assert alone is not None
            assert alone.value < 1 < by_the_law.value


def test_the_readme_shows_calls_that_were_measured_whole() -> None:
    names = {RADIAL: 1000.0, "flash": 4000.0, "fa3": 2000.0}
    calls = [part(HUNYUAN, STEP, 1, name, ms) for name, ms in names.items()]
    blocks = [part(WAN, "block", 40, name, ms) for name, ms in names.items()]
    (row,) = call_table(of_videos([*calls, *blocks])).splitlines()[2:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == [HUNYUAN.title, "1,000", "4,000", "2,000"]
    # 12 of 50 steps stay dense.
    assert cells[4:] == ["4.00×", "2.00×", f"{200 / 86:.2f}×", f"{100 / 62:.2f}×"]


def test_attention_inside_a_part_is_listed_where_it_was_timed() -> None:
    own, dense = WHOLE
    (without,) = of_videos(WHOLE)
    assert len(inside_table([without]).splitlines()) == 2
    parts = (replace(own, attention_ms=(400.0,) * 6), replace(dense, attention_ms=(1200.0,) * 6))
    (found,) = of_videos(parts)
    density = compile_mask(HUNYUAN.mask(own.mask), HUNYUAN.grid).block_density
    line = inside_table([found]).splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[2:-1]] == [
        STEP, "400", "1,200", "–", "–", "–", f"{3 * density:.1%}"
    ]  # fmt: skip


def test_targets_are_of_what_was_measured() -> None:
    names = [target.what for target in paper.step_targets(of_videos((*PARTS, *WHOLE)))]
    assert names == [
        f"{HUNYUAN.title}: step of Amdahl's law, over FA2",
        f"{HUNYUAN.title}: the same with the radial call's own rest, over FA2",
        f"{HUNYUAN.title}: video over FA2",
    ]
    assert paper.step_targets([]) == []


def test_times_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "times.jsonl"
    for one in PARTS:
        append(path, one)
    assert read_lines(path, PartTime) == PARTS
    path.write_text('{"model": "x"}\n', encoding="utf-8")
    with pytest.raises(RecordError, match=r"times.jsonl:1: "):
        read_lines(path, PartTime)


def test_what_the_paper_does_not_say_is_not_claimed() -> None:
    silent = [video for video in VIDEOS if video.claim == PaperFigures()]
    assert [video.title for video in silent] == ["Wan2.1 14B, 4×: 321 frames"]
