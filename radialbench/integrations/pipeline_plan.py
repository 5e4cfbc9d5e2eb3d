"""Plan: which calls of a transformer a measurement times, and how often a video has each."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from radialbench.errors import IntegrationError
from radialbench.integrations.attending import twin
from radialbench.integrations.diffusers import (
    numbered_rules,
    refuse_parallel,
    remove_radial,
    transformers_of,
)
from radialbench.integrations.inputs import call_inputs
from radialbench.integrations.models import TransformerKind, kind_of
from radialbench.integrations.module import schedule_of
from radialbench.integrations.prepared import Shape, choose
from radialbench.integrations.sampling import shape_of, text_grid
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.head_tables import AnyTable
from radialbench.maskgen.language.heads import AnyMask
from radialbench.maskgen.language.schedule import MaskSchedule, ScheduleRule, mask_in

STEPS = 50
"""Denoising steps where the model's preset does not say how many are usual."""

NOISE = 0.5
"""Share of noise of the calls that are timed."""

State = tuple[int | None, ...]
"""The number of each layer's mask; None for dense ones."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What is measured of a transformer.

    Attributes:
        stock: The transformer, without a mask.
        kind: What is known of its class.
        grid: Its tokens.
        rules: The masks.
        tables: The blocks of each mask.
        kernel: What computes them.
        states: Steps of the video by the masks that its layers have in them.
        calls: Calls of a step.
    """

    stock: Any
    kind: TransformerKind
    grid: TokenGrid
    rules: MaskSchedule
    tables: tuple[AnyTable, ...]
    kernel: str
    states: dict[State, int]
    calls: int

    @property
    def shape(self) -> Shape:
        """Shape of q, k and v."""
        shape = shape_of(self.stock, self.stock.dtype)
        return replace(shape, device=torch.device(self.stock.device.type))

    @property
    def layers(self) -> int:
        """Layers with self-attention."""
        return len(next(iter(self.states)))

    @property
    def steps(self) -> int:
        """Steps of a video."""
        return sum(self.states.values())

    def density(self, state: State) -> float:
        """Return the share of pairs that attend, over all layers."""
        shares = [1.0 if number is None else self.tables[number].density for number in state]
        return sum(shares) / len(shares)


def plan_pipeline(
    pipe_or_transformer: Any,
    *,
    size: str,
    frames: int | None = None,
    mask: str | Path | AnyMask = "radial",
    schedule: str | Path | MaskSchedule | None = None,
    backend: str | None = None,
    steps: int | None = None,
    calls: int | None = None,
    params: dict[str, Any] | None = None,
    **dense: int | None,
) -> Plan:
    """Plan what `time_pipeline` measures; arguments and errors are its own."""
    transformer: Any = transformers_of(pipe_or_transformer)[0]
    kind = kind_of(transformer)
    _refuse_hooks(transformer)
    model = kind.model(transformer)
    grid = text_grid(transformer, model.grid(size if frames is None else f"{size}x{frames}"))
    rules = schedule_of(mask, schedule, params or {}, **dense)
    rules = numbered_rules(kind, transformer, rules)
    steps, calls = steps or model.steps or STEPS, calls or model.calls
    layers = range(len(list(kind.attentions(transformer))))
    states: dict[State, int] = {}
    for step in range(steps):
        active = rules.active(step, 1 - step / steps)
        state = tuple(mask_in(active, layer) for layer in layers)
        states[state] = states.get(state, 0) + 1
    states.setdefault((None,) * len(layers), 0)
    if len(states) == 1:
        raise IntegrationError(
            f"all {steps} steps are dense under {rules.name}: there is nothing to compare"
        )
    shape = shape_of(transformer, transformer.dtype)
    chosen = [choose(one, grid, shape, backend) for one in rules.masks]
    stock = twin(transformer).eval()
    remove_radial(stock)
    kind.known_attentions(stock)
    tables = tuple(table for _, _, table in chosen)
    return Plan(stock, kind, grid, rules, tables, chosen[0][0], states, calls)


def _refuse_hooks(transformer: Any) -> None:
    """Refuse a transformer whose weights come and go during a call.

    Raises:
        IntegrationError: It is one.
    """
    refuse_parallel(transformer)
    for module in transformer.modules():
        # A pipeline leaves a registry without hooks behind after each call.
        registry = getattr(module, "_diffusers_hook", None)
        if hasattr(module, "_hf_hook") or getattr(registry, "hooks", None):
            raise IntegrationError(
                "the transformer has hooks of diffusers or accelerate (offloading, layerwise "
                "casting, caching), whose time is not that of a call: time it without them"
            )


def timed_inputs(plan: Plan, seed: int) -> dict[str, Any]:
    """Return the arguments of the calls that are timed."""
    return call_inputs(plan.stock, plan.grid, seed, noise_share=NOISE)


def held(rules: MaskSchedule, state: State) -> MaskSchedule:
    """Return a schedule whose layers have the masks of a state in every step."""
    held = [
        ScheduleRule(mask, layers=tuple(at for at, one in enumerate(state) if one == number))
        for number, mask in enumerate(rules.masks)
        if number in state
    ]
    return MaskSchedule(tuple(held), rules.name)
