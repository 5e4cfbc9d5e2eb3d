"""Steps are counted by timesteps, not by calls; schedules say which mask a layer has in a step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from radialbench import TokenGrid, load_mask
from radialbench.errors import IntegrationError, SpecError
from radialbench.integrations.diffusers import apply_radial, remove_radial
from radialbench.integrations.module import RadialAttention
from radialbench.integrations.processors import RadialProcessor
from radialbench.maskgen.language.schedule import MaskSchedule, ScheduleRule, mask_in
from radialbench.maskgen.library import load_schedule
from tests.integrations.small import SMALL, called

GRID = TokenGrid(3, 2, 4)


def scheduled(*, rising: bool = False, **dense: Any) -> RadialAttention:
    """Return an attention with layers or steps that are dense."""
    named = {f"dense_{name}": count for name, count in dense.items()}
    return RadialAttention(GRID, rising_timesteps=rising, **named)


def walked(schedule: RadialAttention, timesteps: list[float]) -> list[tuple[int, bool]]:
    seen = []
    for timestep in timesteps:
        schedule.at(timestep)
        seen.append((schedule.denoising.step, schedule.dense))
    return seen


def test_calls_at_one_timestep_are_one_step() -> None:
    steps = walked(scheduled(steps=2), [1000, 1000, 900, 900, 900, 899.5, 0])
    assert steps == [(0, True)] * 2 + [(1, True)] * 3 + [(2, False), (3, False)]


def test_more_noise_begins_another_video() -> None:
    schedule = scheduled(steps=1)
    assert walked(schedule, [900, 500, 100]) == [(0, True), (1, False), (2, False)]
    assert walked(schedule, [950, 600]) == [(0, True), (1, False)]


def test_timesteps_may_rise() -> None:
    schedule = scheduled(steps=1, rising=True)
    assert walked(schedule, [0, 0, 5, 400, 1]) == [
        *((0, True), (0, True), (1, False), (2, False), (0, True))
    ]


def test_last_steps_are_dense_from_one_on() -> None:
    schedule = scheduled(steps=1, from_step=3)
    falling: list[float] = [900, 700, 500, 500, 300, 100, 900]
    dense = [True, False, False, False, True, True, True]
    assert [found for _, found in walked(schedule, falling)] == dense
    assert schedule.schedule.by_step
    assert scheduled(from_step=0).dense
    assert not scheduled(layers=2).schedule.by_step


def test_no_dense_steps() -> None:
    schedule = scheduled()
    assert not schedule.dense
    assert walked(schedule, [1000, 900]) == [(0, False), (1, False)]


def test_dense_before_the_first_timestep() -> None:
    assert scheduled(steps=1).dense


def test_layers() -> None:
    schedule = scheduled(layers=2, steps=1)
    assert all(schedule.is_dense(layer) for layer in (None, 0, 5))
    walked(schedule, [1000, 900])
    assert [schedule.is_dense(layer) for layer in (None, 0, 1, 2)] == [False, True, True, False]


@pytest.mark.parametrize("count", [-1, 1.5, True])
def test_what_is_no_count(count: object) -> None:
    with pytest.raises(SpecError, match=f"dense_steps must be a whole .* got {count}"):
        scheduled(steps=count)
    with pytest.raises(SpecError, match=f"dense_from_step must be a whole .* got {count}"):
        scheduled(from_step=count)


FILE = """
name: tuned
rules:
  - {mask: dense, layers: "0,-1"}
  - {mask: dense, noise: [0.9, 1]}
  - {mask: near.yaml, layers: 1-2, steps: 2-}
  - {mask: radial, params: {decay: 0.5}, steps: 0-6}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "near.yaml").write_text("name: near\nmask: dt <= 1\n")
    (tmp_path / "schedule.yaml").write_text(FILE)
    return tmp_path / "schedule.yaml"


def test_the_first_rule_that_holds_decides(path: Path) -> None:
    schedule = load_schedule(path).numbered([f"blocks.{number}" for number in range(5)])
    assert (schedule.name, schedule.file) == ("tuned", "schedule.yaml")
    near, radial = load_mask(path.parent / "near.yaml"), load_mask("radial", decay=0.5)
    assert schedule.masks == (near, radial)
    assert [schedule.may_be_sparse(layer) for layer in range(5)] == [False, True, True, True, False]
    wanted = {
        (0, 1.0): [None] * 5,
        (1, 0.8): [None, 1, 1, 1, None],
        (2, 0.7): [None, 0, 0, 1, None],
        (6, 0.2): [None, 0, 0, 1, None],
        (7, 0.1): [None, 0, 0, None, None],
    }
    for (step, noise), numbers in wanted.items():
        active = schedule.active(step, noise)
        assert [mask_in(active, layer) for layer in range(5)] == numbers


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{mask: radial, steps: 5-2}", r":2:24: rules\[0\].steps: a range of steps rises"),
        ("{mask: radial, steps: soon}", "steps are a number or a range"),
        ("{mask: radial, layers: 3-1}", "a range of layers rises"),
        ("{mask: radial, layers: '?'}", "layers are numbers, ranges such as 0-3 or names"),
        ("{mask: radial, noise: [0.9, 0.4]}", "a share of noise rises from 0 to 1"),
        ("{mask: radial, noise: 0.9}", "must be a list"),
        ("{mask: radial, params: {decey: 2}}", "decey"),
        ("{mask: radail}", "radial"),
        ("{mask: ../other.yaml}", "files in its own folder"),
        ("{mask: dense}", "all of s is dense"),
        ("{layers: 3}", "mask: missing"),
    ],
)
def test_wrong_rules_are_named(rule: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(f"name: s\nrules: [{rule}]\n")
    with pytest.raises(SpecError, match=message):
        load_schedule(file)


def test_layers_of_a_model_by_number_and_name() -> None:
    names = ["transformer_blocks.0", "transformer_blocks.1", "single_transformer_blocks.0"]
    radial = load_mask("radial")
    schedule = MaskSchedule((ScheduleRule(radial, layers=("single_*", -2)),))
    assert schedule.numbered(names).rules[0].layers == (1, 2)
    for layers, message in (((3,), "no layer 3, the model has 3"), (("blocks.*",), "'blocks")):
        with pytest.raises(SpecError, match=message):
            MaskSchedule((ScheduleRule(radial, layers=layers),)).numbered(names)
    with pytest.raises(SpecError, match="names layers, which a RadialAttention does not know"):
        RadialAttention(GRID, schedule=schedule)


def test_a_schedule_says_all_itself(path: Path) -> None:
    for more in ({"dense_steps": 2}, {"decay": 0.5}, {"mask": "sta"}):
        with pytest.raises(SpecError, match=f"itself what is dense .*; got {next(iter(more))} too"):
            RadialAttention(GRID, schedule=path, **more)


def test_a_module_attends_by_layer_and_step(path: Path) -> None:
    attention = RadialAttention(GRID, schedule=load_schedule(path).numbered(["b"] * 5))
    alone = [RadialAttention(GRID, mask) for mask in attention.schedule.masks]
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, GRID.seq_len, 16) for _ in range(3))
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    outs = [*(one(q, k, v) for one in alone), dense]
    assert not any(torch.allclose(outs[i], outs[i - 1]) for i in range(3))
    for timestep, numbers in ((1000, [-1] * 4), (800, [-1, 1, 1, 1]), (700, [-1, 0, 0, 1])):
        attention.at(timestep)
        for layer, number in enumerate(numbers):
            torch.testing.assert_close(attention(q, k, v, layer=layer), outs[number])


# Mochi's rotary embedding asks for float32.
@pytest.mark.filterwarnings("ignore:In CPU autocast")
@pytest.mark.parametrize("name", SMALL)
def test_a_transformer_runs_its_schedule(name: str, path: Path) -> None:
    """Layers of equal masks share a place, and each step is as with its mask alone."""
    small = SMALL[name]
    transformer = small.build()
    stock = called(transformer, small.inputs(900.0))
    first = "transformer_blocks.0" if name != "wan" else "blocks.0"
    path.write_text(
        f"rules:\n- {{mask: dense, layers: {first}}}\n- {{mask: dense, noise: [0.85, 1]}}\n"
        "- {mask: near.yaml, steps: 1}\n- {mask: radial}\n"
    )
    alone = {}
    for mask in (path.parent / "near.yaml", "radial"):
        apply_radial(transformer, size=small.size, mask=mask, dense_layers=1)
        alone[str(mask)] = [called(transformer, small.inputs(t)) for t in (500.0, 100.0)]
    rising = name == "mochi"
    attention = apply_radial(transformer, size=small.size, schedule=path)
    places = [
        m.processor.place
        for m in transformer.modules()
        if isinstance(getattr(m, "processor", None), RadialProcessor)
    ]
    assert set(places) == {1}
    steps = (100.0, 500.0, 900.0) if rising else (900.0, 500.0, 100.0)
    found = [called(transformer, small.inputs(t)) for t in steps]
    assert attention.denoising.step == 2
    near, radial = (alone[str(mask)] for mask in (path.parent / "near.yaml", "radial"))
    if not rising:
        torch.testing.assert_close(found[0], stock)
        torch.testing.assert_close(found[2], radial[1])
    torch.testing.assert_close(found[1], near[0])
    remove_radial(transformer)
    torch.testing.assert_close(called(transformer, small.inputs(900.0)), stock)
    with pytest.raises(IntegrationError, match="all .* layers of the .* would be dense"):
        apply_radial(transformer, size=small.size, dense_layers=len(places) + 1)
