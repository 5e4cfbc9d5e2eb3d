"""Tables of the documentation: kernels beside their peers, targets, sweeps, compile times."""

from dataclasses import replace
from typing import Any

from benchmarks.parts import PerformanceTarget, target_table
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.maskgen.library import load_mask
from radialbench.records.measurement import Measurement, Memory, Rounds, Telemetry
from radialbench.records.problem import Problem
from radialbench.records.result import CEILING_SIZE, Record, Status, TableStats
from radialbench.records.statistics import Estimate
from radialbench.reports.doc_tables import (
    against_best_peer,
    compile_table,
    find,
    growth_lines,
    row_of,
    shape_tables,
    sweep_table,
)
from radialbench.reports.rows import DENSE, busy, fraction_of_ceiling, interleaved_ratio
from radialbench.reports.summary import summarize
from tests.records.sample import RECORD, failed
from tests.reports.factory import ended, made, swept

GROUP = "21x30x52/h12d128bf16"
WORK = 2 * CEILING_SIZE**3


def timing(*samples: float) -> Measurement:
    return Measurement(samples, 2, "cold", "cuda_event", None)


def case(backend: str, *samples: float, mask: str = "radial", **fields: Any) -> Record:
    table = TableStats(100, 0.25, 0.5, 3, 4, 2, 1000, WORK // 2, WORK, 1.5)
    problem = Problem(f"of {mask}", TokenGrid(21, 30, 52), 1, 12, 128, "bfloat16")
    given: dict[str, Any] = {"ceiling": timing(1.0, 2.0, 1.0), "timing": timing(*samples)} | fields
    changed: dict[str, Any] = {
        "backend": backend,
        "mask": MaskIdentity(mask, f"of {mask}", dense=mask == "dense"),
        "table": table,
        "problem": problem,
    }
    return replace(RECORD, case=f"{mask}/{backend}", **(changed | given))


def test_the_share_of_the_product_is_by_executed_work() -> None:
    record = case("hopper", 2.0, 4.0, 2.0)
    assert fraction_of_ceiling(record) == Estimate(0.5)
    assert fraction_of_ceiling(replace(record, ceiling=None)) is None


def test_the_best_peer_is_the_fastest_on_the_same_mask() -> None:
    own = case("hopper", 2.0, 2.0)
    cases = [
        own,
        case("triton", 1.0, 1.0),
        case("fa4", 3.0, 3.0),
        case("flex", 5.0, 5.0),
        case("bsa_fp8", 1.0, 1.0),
        case("cudnn", 1.0, 1.0, mask="dense"),
    ]
    assert against_best_peer(own, cases) == ("fa4", Estimate(1.5))
    assert against_best_peer(cases[2], cases) is None
    assert against_best_peer(own, [own]) is None


def test_memory_besides_the_outputs() -> None:
    outputs = 12 * 32760 * (128 * 2 + 4)

    def besides(*memory: Any) -> int | None:
        return row_of(case("hopper", 1.0, memory=Memory(*memory))).workspace_bytes

    assert besides(outputs + 5, "allocator") == 5
    assert besides(outputs + 5, "allocator", 3) == 3
    assert besides(None, "unknown") is None


def test_a_shape_has_a_table_and_says_what_has_no_time() -> None:
    telemetry = Telemetry(400, 1.0, 12.5, 650.0, 1425.0, 2619.0, 61.0, ("power cap",))
    shown = shape_tables(
        [
            case("hopper", 2.0, 4.0, 2.0, telemetry=telemetry, isolated=timing(1.5)),
            case("flex", 4.0, 8.0, 4.0),
            failed(
                backend="fa4",
                mask=case("fa4", 1.0).mask,
                problem=case("fa4", 1.0).problem,
                status=Status.UNSUPPORTED,
                reason="needs flash-attn-4",
            ),
        ],
        {GROUP: "S: Wan2.1"},
    )
    lines = shown.splitlines()
    assert lines[0] == "### S: Wan2.1"
    assert lines[2] == (
        "32,760 tokens, 12 heads. "
        f"The matmul of 8192³ in turn with them: {WORK / 1e9:,.0f} TFLOP/s."
    )
    hopper = next(line for line in lines if "hopper" in line)
    for told in ("2.00 (1.00; 3)", "0.50", "2.00× flex", "2.50", "1.50", "12.5", "1,425"):
        assert f" {told} " in hopper
    assert lines[-1] == "- radial on fa4: unsupported: needs flash-attn-4"


def test_throttled_samples_are_told() -> None:
    slowed_by = ("power cap", "thermal limit (hardware)", "power cap")
    hot = replace(timing(2.0, 9.0, 2.0), rounds=Rounds("nvml", slowed_by=slowed_by))
    shown = shape_tables([case("hopper", 1.0, timing=hot), case("triton", 3.0, 3.0, 3.0)], {})
    assert shown.splitlines()[-1] == (
        "- radial on hopper: 1 of 3 samples were taken while heat or the hardware held the clocks "
        "back; the figures are of the others"
    )
    assert " 2.00 (0; 3) " in shown
    assert "triton:" not in shown


def test_counters_of_a_gpu_that_waited_are_not_shown() -> None:
    idle = Telemetry(100, 1.0, 12.5, 300.0, 1425.0, 2619.0, 61.0, ())  # 10 ms a call
    assert busy(case("hopper", 2.0, 2.0, telemetry=idle)) is None
    assert busy(case("hopper", 9.0, 9.0, telemetry=idle)) is idle
    assert busy(case("hopper", 9.0, 9.0)) is None


def test_targets_are_met_from_their_side() -> None:
    records = [case("hopper", *[2.0] * 6), case("fa4", *[3.0] * 6)]

    own, other = (find(records, GROUP, "radial", name) for name in ("hopper", "fa4"))
    assert own is not None and other is not None
    assert own.timing is not None and other.timing is not None
    against = interleaved_ratio(other.timing, own.timing)
    shown = target_table(
        [
            PerformanceTarget("low", 1.5, against),
            PerformanceTarget("high", 1.6, against),
            PerformanceTarget("most", 1.4, against, at_most=True),
            PerformanceTarget("unknown", 1.0, None),
        ],
    )
    ends = [line.split("|")[-2].strip() for line in shown.splitlines()[2:]]
    assert ends == ["yes", "**no**", "**no**", "–"]
    assert "1.50 (1.50 to 1.50)" in shown


def test_a_mask_is_found_whatever_its_parameters() -> None:
    own = load_mask("radial_blocks:hunyuan").identity
    problem = replace(case("hopper", 1.0).problem, mask_fingerprint=own.fingerprint)
    hunyuan = replace(case("hopper", 1.0), mask=own, problem=problem)
    assert own.label == "radial_blocks(sink_frames=0)"
    assert find([hunyuan], GROUP, "radial_blocks", "hopper") is hunyuan
    assert find([hunyuan], GROUP, "radial", "hopper") is None


def test_compile_times() -> None:
    records = [
        replace(
            made("radial", 21, backend=None, share=0.5, samples=(30.0, 50.0, 40.0)),
            memory=Memory(3 << 20, "rss"),
        ),
        ended(Status.OOM, "too big", made("sta", 21, backend=None)),
        made("radial", 21),
    ]
    head, _, radial, sta = compile_table(records).splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == [
        *("mask", "grid", "tokens", "first ms", "ms (IQR; samples)", "peak MiB", "full", "partial")
    ]
    assert [cell.strip() for cell in radial.split("|")[1:-1]] == [
        *("radial", "21×30×52", "32,760", "32.8", "40.0 (10.0; 3)", "3.00", "32,768", "16,384")
    ]
    assert [cell.strip() for cell in sta.split("|")[5:7]] == ["oom", "–"]


def test_the_sweep() -> None:
    records = [
        made(DENSE, 5, samples=(100.0,), backend="sdpa", share=1.0),
        made(DENSE, 5, samples=(120.0,), share=1.0),
        made("radial", 5, samples=(40.0,), share=0.4, order=10.0),
        made("radial", 9, samples=(90.0,), share=0.3),
        made("sta", 5, samples=(10.0,)),
    ]
    lines = sweep_table(summarize(records)).splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[::2]] == [
        [
            "dense on",
            "frames",
            "tokens",
            "dense ms (IQR; samples)",
            "radial ms (IQR; samples)",
            "speed-up",
            "pairs of dense",
            "executed of dense",
        ],
        ["sdpa", "5", "7,800", "100 (0; 1)", "50.0 (0; 1)", "2.00×", "40.0%", "60.0%"],
    ]
    assert "sta ms (IQR; samples)" in sweep_table(summarize(records), "sta")
    assert len(sweep_table(summarize(records), DENSE).splitlines()) == 2


def test_growth() -> None:
    shares = dict.fromkeys((5, 9, 17, 33, 65, 129), 0.25)
    records = [*swept(DENSE, dict.fromkeys(shares, 1.0)), *swept("band_a", shares)]
    summary = summarize(records)
    about, dense, band = growth_lines(summary).splitlines()
    assert about.startswith("- n tokens, F frames")
    assert dense == "- dense: every pair attends: n² by definition."
    assert "follows a·n + b·n² (RMS log-residual under 0.001;" in band
    assert "Quadratic, as dense is, with 25.0% of its pairs." in band
    assert growth_lines(summarize([])) == ""
