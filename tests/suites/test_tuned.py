"""Cases whose configuration a suite leaves open take the tuned one, and say so."""

from pathlib import Path
from typing import Any

import pytest

from radialbench.errors import RecordError, SuiteError
from radialbench.kernels.arch import cpu_name
from radialbench.kernels.tuned import VARIABLE
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.problem import KernelConfig, plain_config
from radialbench.records.result import Status
from radialbench.records.store import RESULTS, append, merge, read
from radialbench.suites.estimate import estimate_cases
from radialbench.suites.plan import batches, plan, tuned
from radialbench.suites.run import run
from radialbench.suites.schema import SuiteSpec
from tests.kernels.configs import fresh_for, written
from tests.records.sample import failed
from tests.suites import small

OPEN = small.suite(small.left_open)
HERE = cpu_name()
BEST, SECOND = KernelConfig(64, 32), KernelConfig(32, 64)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of the user's own records, with one of the first case."""
    folder = tmp_path / "configs"
    folder.mkdir()
    monkeypatch.setenv(VARIABLE, str(folder))
    written(folder, fresh_for(plan(OPEN)[0].problem, "cpu", config=BEST))
    return folder


def test_what_a_suite_leaves_open_is_looked_up(configs: Path) -> None:
    cases = plan(OPEN)
    first, *others = tuned(cases, HERE)
    assert (first.config, first.config_source) == (BEST, "tuned")
    assert first.config_reason.startswith("tuned for this problem, there 1.25 times as fast")
    for case in others:
        assert (case.config, case.config_source) == (BEST, "transferred")
        assert case.config_reason.startswith("tuned for ")
    assert [case.id for case in (first, *others)] == [case.id for case in cases]


def test_what_a_suite_says_stands(configs: Path) -> None:
    cases = plan(small.suite())
    assert {case.config_source for case in cases} == {"suite"}
    assert tuned(cases, HERE) == cases
    for given in ({"num_stages": 3}, {"block_n": 64}):
        document = small.suite(lambda d, given=given: _with(d, given))  # type: ignore[misc]
        assert {case.config_source for case in tuned(plan(document), HERE)} == {"suite"}


def _with(document: dict[str, Any], given: dict[str, object]) -> None:
    small.left_open(document)
    document["cases"][0]["backends"] = [{"name": "cpu"} | given]


def test_where_the_device_is_not_known_or_another_the_default_stays(configs: Path) -> None:
    cases = plan(OPEN)
    assert tuned(cases, None) == cases
    assert {case.config_source for case in cases} == {"default"}
    for case in tuned(cases, "Other CPU"):
        assert (case.config, case.config_source) == (KernelConfig(), "default")
        assert case.config_reason.startswith("nothing near was tuned for cpu on Other CPU")


def test_compiling_has_nothing_to_tune(configs: Path) -> None:
    def compiling(document: dict[str, Any]) -> None:
        small.left_open(document)
        matrix = document["cases"][0]
        matrix.update(measure="compile", backends=None)

    cases = plan(small.suite(compiling))
    assert tuned(cases, HERE) == cases


def test_a_plan_is_the_same_everywhere(configs: Path) -> None:
    with_records = plan(OPEN), plan(OPEN, shard="1/2")
    written(configs)
    assert (plan(OPEN), plan(OPEN, shard="1/2")) == with_records
    ids = [[case.id for case in batch] for batch in batches(with_records[0])]
    written(configs, fresh_for(plan(OPEN)[0].problem, "cpu", config=SECOND))
    found = [[case.id for case in batch] for batch in batches(tuned(with_records[0], HERE))]
    assert found == ids


def test_backends_that_choose_blocks_take_what_was_tuned_for_their_kernel(configs: Path) -> None:
    def choosing(document: dict[str, Any]) -> None:
        small.left_open(document)
        document["cases"][0]["backends"] = ["cpu", "topk_cpu"]

    found = tuned(plan(small.suite(choosing), ["radial"]), HERE)
    sources = [(case.config, case.config_source) for case in found]
    assert sources[::2] == sources[1::2]
    assert {config for config, _ in sources} == {BEST}
    assert plain_config("topk_triton") == plain_config("triton") != plain_config("topk_hopper")


@pytest.mark.parametrize("in_process", [True, False])
def test_a_run_takes_it_compiles_for_its_blocks_and_says_so(
    in_process: bool, configs: Path, tmp_path: Path
) -> None:
    outcome = run(OPEN, tmp_path / "out", filter=["radial"], in_process=in_process)
    assert [record.status for record in outcome.records] == [Status.OK] * 2
    cases = plan(OPEN, ["radial"])
    for case, record, source in zip(cases, outcome.records, ("tuned", "transferred"), strict=True):
        assert (record.case, record.config, record.config_source) == (case.id, BEST, source)
        assert isinstance(case.mask, MaskSpec)
        table = compile_mask(case.mask, case.grid, BEST.block_m, BEST.block_n)
        assert record.table is not None
        assert (record.table.full, record.table.partial) == (table.full.nnz, table.partial.nnz)


def test_a_run_without_records_is_as_before(tmp_path: Path) -> None:
    outcome = run(OPEN, tmp_path / "out", filter=["dense/2x"], in_process=True)
    (record,) = outcome.records
    assert (record.config, record.config_source) == (KernelConfig(), "default")


def test_going_on_keeps_what_ran_when_less_was_known(configs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(OPEN, out, filter=["radial"], in_process=True)
    written(configs, fresh_for(plan(OPEN)[0].problem, "cpu", config=SECOND))
    outcome = run(OPEN, out, resume=True, in_process=True)
    assert (outcome.kept, len(outcome.records)) == (2, 2)
    assert [record.config for record in read(out / RESULTS).records] == [BEST, BEST, SECOND, SECOND]


def test_going_on_with_blocks_that_the_suite_now_says_is_refused(
    configs: Path, tmp_path: Path
) -> None:
    run(OPEN, tmp_path, filter=["radial/2x"], in_process=True)
    fixed = small.suite(lambda d: d["cases"][0].update(block_m=128, block_n=128))
    with pytest.raises(SuiteError, match="for another mask or shape; the suite has changed"):
        run(fixed, tmp_path, resume=True, filter=["radial/2x"], in_process=True)


def test_a_later_record_of_another_configuration_takes_a_failed_ones_place(tmp_path: Path) -> None:
    first = failed(config_source="default")
    later = failed(
        config=BEST, config_source="tuned", created="2026-01-02T03:05:05+00:00", reason="again"
    )
    append(tmp_path / "a.jsonl", first)
    append(tmp_path / "b.jsonl", later)
    merged = merge([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out")
    assert merged.records == (later,)
    append(tmp_path / "c.jsonl", failed(config=SECOND, created="2026-01-02T03:06:05+00:00"))
    append(tmp_path / "d.jsonl", failed())
    with pytest.raises(RecordError, match="for different masks or shapes"):
        merge([tmp_path / "c.jsonl", tmp_path / "d.jsonl"], tmp_path / "other")


def test_an_estimate_is_of_what_would_run(configs: Path) -> None:
    told = estimate_cases(OPEN, plan(OPEN))
    assert [one.case.config_source for one in told.estimates] == [
        *("tuned", "transferred", "transferred", "transferred"),
    ]
    assert {one.case.config for one in told.estimates} == {BEST}
    elsewhere = _on_a_gpu(OPEN)
    assert {
        one.case.config_source for one in estimate_cases(elsewhere, plan(elsewhere)).estimates
    } == {"default"}


def _on_a_gpu(spec: SuiteSpec) -> SuiteSpec:
    def changed(document: dict[str, Any]) -> None:
        small.left_open(document)
        document["device"] = "cuda"

    return small.suite(changed)
