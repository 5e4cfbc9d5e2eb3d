"""Gradients have a space, trials and records of their own."""

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from radialbench.autotune import run as tuning
from radialbench.autotune.export import Chosen, load_config_format
from radialbench.autotune.jobs import jobs_of, tunable_cases
from radialbench.autotune.live import WorkerPool
from radialbench.autotune.replay import recorded_candidates
from radialbench.autotune.space import Candidates, candidates, fields_of, format_config, space_of
from radialbench.autotune.trials import SWEEP_SCHEMA, SweepTrial, Trial, TrialOutcome
from radialbench.autotune.tuner import open_store, tune
from radialbench.errors import AutotuneError
from radialbench.kernels.tuned import device_name, source_hash
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.lookup import nearest_config
from radialbench.records.problem import GradientSteps, KernelConfig, Problem, Steps
from radialbench.records.tuning import TuningRecord, key_of
from radialbench.records.tuning_file import read_tuning, write_tuning
from radialbench.suites.plan import Case
from tests.autotune.fake import Fake
from tests.records.tuned import tuned
from tests.suites import small

PROBLEM = Problem("f00d", TokenGrid(21, 30, 52), 1, 12, 128, "bfloat16", direction="backward")
BEST = GradientSteps(Steps(64, 64, 4, 3), Steps(64, 32, 4, 5))
TUNED = tuned(
    direction="backward", config=KernelConfig(gradients=BEST), edges=("gradients.dq.own",)
)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Pretend that there is a GPU of a compute capability."""

    def pretend(major: int, minor: int) -> None:
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, minor))

    return pretend


Gpu = Callable[[int, int], None]


def slow(config: KernelConfig) -> float:
    """Give a time: 1 for the best, more for each step away from it; dq and dk, dv add up."""
    fields, best = fields_of(config), fields_of(KernelConfig(gradients=BEST))
    away = sum(
        abs((fields[name] or 1).bit_length() - (best[name] or 1).bit_length()) for name in best
    )
    return 1 + 0.05 * away


@pytest.mark.parametrize("blocks", [(128, 64), (128, 128), (64, 32), (16, 16)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("arch", [(8, 0), (8, 9), (9, 0)])
def test_steps_are_parts_of_the_tables_blocks(
    gpu: Gpu, arch: tuple[int, int], dtype: str, blocks: tuple[int, int]
) -> None:
    gpu(*arch)
    found = candidates(replace(PROBLEM, dtype=dtype), "triton", "cuda", blocks)
    assert found.default in found.feasible
    every = [*found.feasible, *found.rejected]
    assert len(set(every)) == len(every)
    for config in every[:: max(1, len(every) // 50)]:
        assert found.space.at(found.space.place(config) or ()) == config
        both = config.gradients
        assert both is not None
        assert (config.block_m, config.block_n) == blocks
        assert max(both.dq.own, both.dkdv.step) <= blocks[0]
        assert max(both.dq.step, both.dkdv.own) <= blocks[1]


def test_the_space_is_the_products_that_fit(gpu: Gpu) -> None:
    gpu(9, 0)
    wide = candidates(replace(PROBLEM, head_dim=256), "triton", "cuda", (128, 128))
    assert wide.rejections.keys() == {"registers", "shared memory"}
    own = {one.gradients.dkdv.own for one in wide.feasible if one.gradients}
    assert own == {32, 64}  # 128 keys with two rows of 256 numbers need 512 registers and more.
    best = KernelConfig(gradients=BEST)
    space = space_of("triton", "backward", best)
    assert space.edges(best) == ("gradients.dkdv.step", "gradients.dkdv.num_stages")
    assert space.place(KernelConfig()) is None


def test_hopper_has_nothing_to_tune_and_cpu_its_blocks() -> None:
    with pytest.raises(AutotuneError, match="hopper has nothing to tune backward: its blocks"):
        candidates(PROBLEM, "hopper", "cuda")
    found = candidates(replace(PROBLEM, dtype="float32"), "cpu", "cpu")
    assert found.default == KernelConfig()


def test_a_search_finds_steps_and_its_record_is_read_again(gpu: Gpu, tmp_path: Path) -> None:
    gpu(9, 0)
    among = candidates(PROBLEM, "triton", "cuda", (128, 128))
    found = tune(among, Fake(time=slow), seed=1, trials=40)
    assert found.decision.source == "tuned"
    assert slow(found.decision.config) <= 1.1 < slow(among.default)
    key = key_of(PROBLEM, "triton", "Example GPU")
    record = found.record(
        key, mask=TUNED.mask, kernel="abc", versions={"triton": "3.7.1"}, created=TUNED.created
    )
    forward = tuned()
    write_tuning(tmp_path / "records.jsonl", [forward, record])
    read = read_tuning(tmp_path / "records.jsonl")
    assert read == (forward, record)
    assert nearest_config(read, key).record == record
    assert nearest_config(read, replace(key, direction="forward")).record == forward


def test_a_search_continues_in_a_storage(gpu: Gpu, tmp_path: Path) -> None:
    gpu(9, 0)
    among = candidates(PROBLEM, "triton", "cuda", (128, 128))
    url = f"journal:{tmp_path / 'trials.journal'}"
    first = tune(among, Fake(time=slow), trials=6, storage=url, study="one")
    fake = Fake(time=slow)
    again = tune(among, fake, trials=6, storage=url, study="one")
    assert again.decision == first.decision
    assert not fake.tried
    kept = open_store(url, "one", among).trials()
    assert [trial.config for trial in kept] == [trial.config for trial in first.trials]


def test_a_sweep_of_steps_is_replayed() -> None:
    configs = [KernelConfig(gradients=BEST), KernelConfig(gradients=replace(BEST, dq=BEST.dkdv))]
    sweep = [
        SweepTrial(
            schema=SWEEP_SCHEMA,
            key=TUNED.key,
            mask=TUNED.mask,
            config=config,
            outcome=TrialOutcome.OK,
            reason=None,
            samples_ms=(slow(config),) * 3,
            block_density=None,
            registers=None,
            stack_bytes=None,
            shared_bytes=None,
            kernel="abc",
            versions={},
        )
        for config in configs
    ]
    found = recorded_candidates(sweep)
    assert isinstance(found, Candidates)
    assert set(found.feasible) == set(configs)
    strange = replace(sweep[1], config=KernelConfig(gradients=replace(BEST, dq=Steps(8, 8, 1, 9))))
    assert len(recorded_candidates([sweep[0], strange]).feasible) == 2


def told(cases: Sequence[Case]) -> set[tuple[str | None, str]]:
    return {(case.backend, case.problem.direction) for case in cases}


def test_both_directions_of_a_suite_are_two_problems() -> None:
    cases = small.cases(backends=["cpu", "sdpa"], direction="both")
    assert told(tunable_cases(cases, "cpu")) == {("cpu", "forward"), ("cpu", "backward")}
    assert told(tunable_cases(cases, "cpu", direction="backward")) == {("cpu", "backward")}
    cases = small.cases(backends=["cpu"], direction="backward")
    assert told(tunable_cases(cases, "cpu")) == {("cpu", "backward")}
    names = {job.name.split("/", 2)[2] for job in jobs_of(tunable_cases(cases, "cpu"))}
    assert names == {"h2d8/cpu/backward"}


class Timed:
    """Takes a time for every configuration, without a process."""

    def __init__(self, case: Case, pool: object, *, then: Sequence[Case]) -> None:
        self.fake = Fake(time=lambda config: 1.0 if config == KernelConfig(32, 64) else 2.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fake, name)


def test_records_of_both_directions_lie_side_by_side(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "LiveEvaluator", Timed)
    monkeypatch.delenv("RADIALBENCH_CONFIGS", raising=False)
    cases = small.cases(masks=["radial"], backends=["cpu"])
    out = tmp_path / "records.jsonl"
    before: bytes | None = None
    for direction in ("forward", "backward"):
        jobs = jobs_of(tunable_cases(cases, "cpu", direction=direction))
        tuning.run(jobs, WorkerPool("cpu"), out, storage=None, trials=30)
        before = before or out.read_bytes()
    assert out.read_bytes().startswith(before or b"?")
    records = read_tuning(out)
    assert [record.key.direction for record in records] == ["forward"] * 2 + ["backward"] * 2
    assert {record.kernel for record in records} == {source_hash("cpu")}
    assert {record.key.device for record in records} == {device_name("cpu")}


def rendered(name: str, *records: TuningRecord) -> str:
    texts = load_config_format(name)(Chosen(records))
    if isinstance(texts, str):
        return texts
    return next(text for file, text in texts.items() if file.endswith(".json"))


def test_every_format_has_the_steps() -> None:
    flat = {
        name: value
        for name, value in fields_of(TUNED.config).items()
        if name.startswith("gradients.")
    }
    t4 = json.loads(rendered("t4", TUNED))
    assert t4["metadata"]["chosen"]["configuration"].items() >= flat.items()
    assert t4["results"][0]["configuration"].items() >= flat.items()
    python = rendered("python", TUNED)
    (value,) = ast.literal_eval(python[python.index("CONFIGS = ") + 10 :]).values()
    own = {"own": 64, "step": 32, "num_warps": 4, "num_stages": 5}
    assert value["config"]["gradients"]["dkdv"] == own
    assert json.loads(rendered("vllm", TUNED))["32760"]["dkdv"] == own
    (stored,) = json.loads(rendered("json", TUNED))["records"]
    assert stored["config"]["gradients"]["dkdv"] == own


def test_triton_has_a_list_for_each_kernel() -> None:
    other = replace(TUNED, key=replace(TUNED.key, frames=9))
    given: dict[str, Any] = {}
    code = rendered("triton", tuned(), TUNED, other).replace("import triton\n", "")
    fake = type("triton", (), {"Config": staticmethod(lambda constants, **how: (constants, how))})
    exec(code, given | {"triton": fake}, given)
    assert given["DQ"] == [
        (
            {"BLOCK_M": 128, "BLOCK_N": 128, "OWN": 64, "STEP": 64},
            {"num_warps": 4, "num_stages": 3},
        )
    ]
    assert len(given["DKDV"]) == len(given["CONFIGS"]) == 1
    places = [(one.get("config"), one.get("dq"), one.get("dkdv")) for one in given["PROBLEMS"]]
    assert places == [(0, None, None), (None, 0, 0), (None, 0, 0)]


def test_steps_in_words() -> None:
    assert format_config(TUNED.config) == (
        "128×128; dq 64×64, 4 warps, 3 stages; dkdv 64×32, 4 warps, 5 stages"
    )
    assert "gradients" not in repr(KernelConfig())
    assert "dkdv=Steps(own=64" in repr(TUNED.config)
    assert Trial(TUNED.config, TrialOutcome.OK, None, (1.0,)).ms == 1
