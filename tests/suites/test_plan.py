"""Case ids are stable, say what is measured, and can be filtered."""

import re
import shlex
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from radialbench.cli import main
from radialbench.errors import SuiteError
from radialbench.maskgen.compiler import compile_any
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.statistics import MIN_SAMPLES
from radialbench.suites.plan import Case, batches, plan
from radialbench.suites.read import load_suite, parse_suite, suite_names
from tests.suites import small

SHORT = (3, 5, 9)
"""Frames at which there are six samples."""
LONG = (17,)
KEPT = 21
"""Frames at which the suite measures what masks keep."""
FRAMES = (*SHORT, *LONG, KEPT)
LONGER = (5, 9, 17, 33, 65, 129, 257)
SPARSE = ("radial", "sta", "svg_spatial", "svg_temporal")

SMOKE = [
    *(
        f"{mask}/wan2.1-1.3b/{frames}x30x52/h1d128f32/cpu"
        for frames, mask in product((*SHORT, *LONG), (*SPARSE, "dense"))
        if mask != "dense" or frames < 17
    ),
    *(
        f"{mask}/wan2.1-1.3b/{KEPT}x30x52/h1d128f32/cpu"
        for mask in (*SPARSE, "power", "neighborhood")
    ),
    f"svg_spatial/wan2.1-1.3b/{KEPT}x30x52/h1d128f32/topk_cpu",
    *(f"dense/wan2.1-1.3b/{frames}x30x52/h1d128f32/sdpa" for frames in FRAMES),
    *(
        f"{mask}/wan2.1-1.3b/{frames}x30x52/h1d128f32/compile"
        for frames, mask in product(LONGER, (*SPARSE, "dense"))
    ),
]


def ids(text: str) -> list[str]:
    return [case.id for case in plan(parse_suite(text))]


def test_the_ids_of_the_smoke_suite_stay() -> None:
    assert [case.id for case in plan(load_suite("smoke"))] == SMOKE


def test_checks_judge_the_times_of_smoke_that_have_six_samples() -> None:
    for case in plan(load_suite("smoke")):
        judged = not {"latency=off", "compile=off"} & set(case.gates)
        enough = case.protocol.min_samples >= MIN_SAMPLES
        assert judged == (enough and case.measure == "attention"), case.id
        if case.measure == "attention":
            assert judged == (case.problem.frames in SHORT)


def test_smoke_holds_the_frames_of_wan_at_480p_on_the_cpu() -> None:
    cases = plan(load_suite("smoke"))
    attention = [case for case in cases if case.measure == "attention"]
    assert {case.problem.tokens_per_frame for case in cases} == {1560}
    assert {case.problem.seq_len for case in attention} == {1560 * frames for frames in FRAMES}
    assert {(case.device, case.problem.heads, case.problem.dtype) for case in cases} == {
        ("cpu", 1, "float32")
    }


@pytest.mark.parametrize(
    ("suite", "case"),
    [
        ("wan", "radial/wan2.1-14b/21x45x80/h40d128bf16/hopper"),
        ("wan", "radial_blocks/wan2.1-14b/21x45x80/h40d128bf16/compile"),
        ("hunyuan", "dense/hunyuanvideo/33x45x80+256/h24d128bf16/cudnn"),
        ("mochi", "svg_temporal/mochi-1/28x30x53+256/h24d128bf16/triton"),
    ],
)
def test_ids_of_the_suites_for_a_gpu(suite: str, case: str) -> None:
    assert case in [planned.id for planned in plan(load_suite(suite))]


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_plan_each_case_once(name: str) -> None:
    cases = plan(load_suite(name))
    assert len({case.id for case in cases}) == len(cases) > 0
    measured = {(case.measure, case.problem.grid) for case in cases}
    assert {grid for measure, grid in measured if measure == "attention"}
    assert {grid for measure, grid in measured if measure == "compile"}


@pytest.mark.parametrize("name", suite_names())
def test_masks_of_shipped_suites_fit_the_smallest_of_their_grids(name: str) -> None:
    smallest: dict[str, Case] = {}
    for case in plan(load_suite(name)):
        known = smallest.setdefault(case.mask.fingerprint, case)
        if case.problem.seq_len < known.problem.seq_len:
            smallest[case.mask.fingerprint] = case
    for case in smallest.values():
        assert compile_any(case.mask, case.grid, 128, 128).nnz > 0


def test_an_id_does_not_depend_on_the_rest_of_the_suite() -> None:
    whole = [case.id for case in small.cases()]
    alone = [case.id for case in small.cases(masks=["dense"])]
    assert alone == [case for case in whole if case.startswith("dense/")]
    assert whole[0] == "radial/2x3x5/h2d8f32/cpu@16x16"


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({"batch": 3}, "/b3h2d8f32/cpu@16x16"),
        ({"dtype": "bfloat16"}, "/h2d8bf16/cpu@16x16"),
        ({"kv_heads": 1}, "/h2kv1d8f32/cpu@16x16"),
        ({"kv_heads": 2}, "/h2d8f32/cpu@16x16"),
        ({"dtype": "float16"}, "/h2d8f16/cpu@16x16"),
        ({"block_m": 128, "block_n": 128}, "/h2d8f32/cpu"),
        ({"block_m": None, "block_n": None}, "/h2d8f32/cpu"),
        ({"block_n": 128}, "/h2d8f32/cpu@16x128"),
        ({"backends": [{"name": "cpu", "block_m": 64}]}, "/h2d8f32/cpu@64x16"),
        (
            {"backends": [{"name": "cpu", "num_warps": 8, "num_stages": 3}]},
            "/h2d8f32/cpu@16x16w8s3",
        ),
        ({"measure": "compile", "backends": None}, "/h2d8f32/compile@16x16"),
    ],
)
def test_an_id_says_what_differs_from_the_usual(fields: dict[str, Any], end: str) -> None:
    (case,) = small.cases(masks=["dense"], grids=[{"frames": 2, "height": 3, "width": 5}], **fields)
    assert case.id == f"dense/2x3x5{end}"


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"name": "radial", "params": {"decay": 0.5}}, ["radial(decay=0.5)"]),
        (
            {"name": "radial", "params": {"decay": [0.5, 2]}},
            ["radial(decay=0.5)", "radial(decay=2)"],
        ),
        ({"name": "radial", "params": {"decay": 0.5}, "label": "half"}, ["half"]),
        (
            {"name": "radial", "params": {"decay": [0.5, 2]}, "label": "r"},
            ["r(decay=0.5)", "r(decay=2)"],
        ),
        ({"name": "radial_blocks:wan"}, ["radial_blocks"]),
    ],
)
def test_a_mask_in_an_id(mask: dict[str, Any], words: list[str]) -> None:
    cases = small.cases(masks=[mask], grids=[{"frames": 2, "height": 3, "width": 5}])
    assert [case.id.split("/")[0] for case in cases] == words


def test_what_a_report_shows_filters_the_plan() -> None:
    mask = {"name": "radial", "params": {"decay": [0.5, 1, 2]}}
    suite = small.suite(lambda document: document["cases"][0].update(masks=[mask, "dense"]))
    for case in plan(suite):
        shown = case.identity.label
        found = plan(suite, [f"{shown}/*"])
        assert {one.identity.label for one in found} == {shown}


def test_parameters_reach_the_mask() -> None:
    mask = {"name": "radial", "params": {"decay": [0.25, 2]}}
    grid = {"frames": 2, "height": 3, "width": 5}
    few, many = small.cases(masks=[mask], grids=[grid])
    assert isinstance(few.mask, MaskSpec) and isinstance(many.mask, MaskSpec)
    assert (few.mask.values["decay"], many.mask.values["decay"]) == (0.25, 2)
    assert few.problem.mask_fingerprint != many.problem.mask_fingerprint


def test_heads_are_the_models_unless_given() -> None:
    grid = {"model": "wan2.1-14b", "size": "832x480x5"}
    given = {"masks": ["dense"], "grids": [grid]}
    (models,) = small.cases(**given, heads=None, head_dim=None)
    assert (models.problem.heads, models.problem.head_dim) == (40, 128)
    (own,) = small.cases(**given, heads=3, head_dim=None)
    assert (own.problem.heads, own.problem.head_dim) == (3, 128)
    (grouped,) = small.cases(**given, heads=None, head_dim=None, kv_heads=8)
    assert (grouped.problem.heads, grouped.problem.key_heads) == (40, 8)


def test_cases_to_compare_share_a_group() -> None:
    cases = small.cases(backends=["cpu", "sdpa"])
    assert [case.group for case in cases] == ["2x3x5/h2d8f32"] * 4 + ["3x3x5/h2d8f32"] * 4


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ({"mask": "rad*"}, ["dense/2", "dense/3"]),
        ({"mask": "rad*", "min_tokens": 45}, ["radial/2", "dense/2", "dense/3"]),
        ({"max_tokens": 30}, ["radial/3", "dense/3"]),
        ([{"backend": "cpu", "mask": "dense"}, {"min_tokens": 40}], ["radial/2"]),
        ({"backend": "sdpa"}, ["radial/2", "dense/2", "radial/3", "dense/3"]),
    ],
)
def test_what_is_excluded_is_not_planned(exclude: Any, left: list[str]) -> None:
    assert [case.id.split("x")[0] for case in small.cases(exclude=exclude)] == left


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ([], 66),
        (["radial/"], 12),
        (["sdpa"], 5),
        (["*/sdpa"], 5),
        (["/33x30x52/", "/21x30x52/"], 8 + 5),
        (["s?a/*x30x52/*/cpu"], 5),
        (["sta/*/[ac]*"], 12),
    ],
)
def test_filters_are_parts_of_ids_or_patterns_of_all_of_them(
    patterns: list[str], left: int
) -> None:
    assert len(plan(load_suite("smoke"), patterns)) == left


def test_a_filter_that_fits_nothing() -> None:
    with pytest.raises(
        SuiteError, match=r"no case of smoke fits 'rdial', 'x\*'; ids look like rad"
    ):
        plan(load_suite("smoke"), ["rdial", "x*"])


@pytest.mark.parametrize("name", ["smoke", "a file.yaml"])
def test_the_command_that_is_advised_works(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if name.endswith(".yaml"):
        small.written(tmp_path).rename(name)
    with pytest.raises(SuiteError) as error:
        plan(load_suite(name), ["no such case"])
    command = str(error.value).partition("To list them: ")[2]
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code or 0, "radial" in capsys.readouterr().out) == (0, True)


def test_two_matrices_may_not_plan_the_same_case() -> None:
    def twice(document: dict[str, Any]) -> None:
        document["cases"].append(document["cases"][0] | {"protocol": {"warmups": 2}})

    with pytest.raises(SuiteError, match=r"planned twice, in cases\[0\] and cases\[1\]; remove"):
        plan(small.suite(twice))


def test_a_label_tells_equal_masks_apart() -> None:
    masks = ["dense", {"name": "dense", "label": "again"}]
    assert len(small.cases(masks=masks)) == 4


def test_too_many_cases() -> None:
    masks = [{"name": "radial", "params": {"decay": [1 + i / 1000 for i in range(500)]}}]
    with pytest.raises(SuiteError, match="plans 100,500 cases; at most 100,000 are run"):
        small.cases(masks=masks, grids=[{"frames": list(range(2, 203)), "height": 3, "width": 5}])


def test_more_work_is_expected_of_longer_sequences() -> None:
    works = [case.work for case in plan(load_suite("smoke")) if case.backend == "sdpa"]
    assert works == sorted(works)
    assert works[0] > 0


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("suite", ["smoke", "scaling", "wan"])
def test_shards_hold_every_case_once_and_keep_together_what_is_sampled_together(
    suite: str, count: int
) -> None:
    whole = plan(load_suite(suite))
    shards = [plan(load_suite(suite), shard=f"{place}/{count}") for place in range(1, count + 1)]
    assert sorted(case.id for shard in shards for case in shard) == sorted(c.id for c in whole)
    for shard in shards:
        assert list(shard) == [case for case in whole if case in shard]
    home = {case.id: place for place, shard in enumerate(shards) for case in shard}
    for batch in batches(whole):
        assert len({home[case.id] for case in batch}) == 1


def test_shards_are_balanced_by_work() -> None:
    cases = plan(load_suite("wan"))
    heaviest = max(sum(case.work for case in batch) for batch in batches(cases))
    loads = [
        sum(case.work for case in plan(load_suite("wan"), shard=f"{place}/3"))
        for place in (1, 2, 3)
    ]
    # Whoever gets a batch had least until then: no two differ by more than the heaviest.
    assert max(loads) - min(loads) <= heaviest
    assert sum(loads) == pytest.approx(sum(case.work for case in cases))


def test_a_filter_comes_before_the_shards() -> None:
    spec = load_suite("smoke")
    kept = [plan(spec, ["sta"], shard=f"{place}/2") for place in (1, 2)]
    ids = {case.id for case in plan(spec, ["sta"])}
    assert {case.id for part in kept for case in part} == ids


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("0/2", "a shard is i/n, from 1/n to n/n, such as 2/3, got '0/2'"),
        ("3/2", "got '3/2'"),
        ("2", "got '2'"),
        ("a/b", "got 'a/b'"),
        ("1/2/3", "got '1/2/3'"),
        ("-1/2", "got '-1/2'"),
        ("1/9", "small has 4 parts to share out, and 9 shards are asked for; 4 is the most"),
    ],
)
def test_shards_that_do_not_exist(shard: str, message: str) -> None:
    with pytest.raises(SuiteError, match=re.escape(message)):
        plan(small.suite(), shard=shard)


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_ask_dense_attention_alone_of_those_that_compute_no_other(name: str) -> None:
    dense = {case.mask.fingerprint for case in small.cases(masks=["dense"])}
    for case in plan(load_suite(name)):
        if case.backend in ("sdpa", "cudnn", "flash", "fa3"):
            assert case.mask.fingerprint in dense


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_for_a_gpu_sample_all_cases_of_a_shape_in_turn(name: str) -> None:
    spec = load_suite(name)
    if spec.device == "cuda":
        cases = [case for case in plan(spec) if case.measure == "attention"]
        assert len(list(batches(cases))) == len({case.group for case in cases})
        assert all(case.protocol.interleave and case.protocol.ceiling for case in cases)
        assert {"hopper", "triton", "cudnn"} <= {case.backend for case in cases}


def test_scaling_reaches_from_5_to_257_frames() -> None:
    cases = [case for case in plan(load_suite("scaling")) if case.measure == "attention"]
    assert {case.problem.frames for case in cases} == {5, 9, 17, 33, 65, 129, 257}
    assert {case.problem.tokens_per_frame for case in cases} == {1560, 3600}
    assert {case.problem.heads for case in cases} == {1}


def test_heads_of_k_and_v_are_the_models() -> None:
    grid = {"model": "cosmos3-nano", "size": "64x64", "latent_frames": [2]}
    given: dict[str, Any] = {"masks": ["dense"], "grids": [grid], "head_dim": None}
    (case,) = small.cases(**given, heads=None)
    assert (case.problem.heads, case.problem.kv_heads) == (32, 8)
    (fewer,) = small.cases(**given, heads=4)
    assert (fewer.problem.heads, fewer.problem.kv_heads) == (4, None)
    (stated,) = small.cases(**given, heads=None, kv_heads=4)
    assert stated.problem.kv_heads == 4
