"""time_pipeline: what a mask brings in a pipeline, measured on whole calls of its transformer."""

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from radialbench.errors import BackendError, IntegrationError, unknown
from radialbench.integrations.attending import (
    Attend,
    Attends,
    MaskedAttention,
    Watch,
    dense_kernel,
    event_of,
    kernel_attend,
    twin,
)
from radialbench.integrations.diffusers import apply_radial
from radialbench.integrations.pipeline_plan import Plan, State, held, plan_pipeline, timed_inputs
from radialbench.integrations.sampling import video_of
from radialbench.kernels.measure.accuracy import WRONG
from radialbench.kernels.measure.environment import environment
from radialbench.kernels.measure.telemetry import peak_memory, watch
from radialbench.kernels.measure.timing import measure_together
from radialbench.maskgen.language.heads import AnyMask
from radialbench.maskgen.language.schedule import MaskSchedule
from radialbench.records.pipeline import SCHEMA, OutputAccuracy, PipelineTime
from radialbench.reports.pipeline import STOCK, PipelineTimes

DENSE_KERNELS = (STOCK, "flash", "cudnn", "fa3", "fa4")
"""Dense attention that a mask is compared with: the pipeline's own, and kernels of others."""

SMALLEST = 1e-30
"""Tolerance of an output that is all zeros."""


def time_pipeline(
    pipe_or_transformer: Any,
    *,
    size: str,
    frames: int | None = None,
    mask: str | Path | AnyMask = "radial",
    dense_layers: int = 0,
    dense_steps: int = 0,
    dense_from_step: int | None = None,
    schedule: str | Path | MaskSchedule | None = None,
    backend: str | None = None,
    against: Sequence[str] | None = None,
    steps: int | None = None,
    calls: int | None = None,
    title: str | None = None,
    weights: str = "given",
    seed: int = 0,
    min_samples: int = 6,
    max_samples: int = 30,
    max_seconds: float = 120.0,
    command: str | None = None,
    on_share: Callable[[float], None] = lambda share: None,
    **params: float | bool,
) -> PipelineTimes:
    """Time whole calls of a pipeline's transformer, with and without a mask, and their video.

        times = time_pipeline(pipe, size="1280x720x81", mask="radial", dense_steps=12)
        print(times)

    Calls get random latents and prompts of full length. Each output is first compared with that of
    the stock transformer whose attention PyTorch computes under the same token mask, which takes
    seq_len² bytes; what differs by more than rounding is not timed, nor is a mask that this cannot
    tell from dense attention. Then all calls are sampled in turn.

    A video has equal steps from noise to none. Steps whose layers have the same masks are one kind
    of call; its time counts as often. The pipeline is not changed: copies that share its weights
    run, uncompiled. Of two transformers, as Wan 2.2 has, the first is timed for both.

    Args:
        pipe_or_transformer: A pipeline of diffusers, or its transformer.
        size: As of `apply_radial`, like the masks: `frames`, `mask`, `dense_layers`,
            `dense_steps`, `dense_from_step`, `schedule`, `backend` and parameters of the mask.
        frames: Frames, if `size` does not include them.
        mask: Name, path or object of a mask or head plan.
        dense_layers: First layers that stay dense.
        dense_steps: First denoising steps that stay dense.
        dense_from_step: Step from which on steps are dense again.
        schedule: Masks by layer and step instead.
        backend: What computes the masks; the best one for the device if not given.
        against: Dense kernels of `DENSE_KERNELS`: `stock` is the pipeline's own attention, which is
            always timed. All that run on a GPU if not given.
        steps: Denoising steps of a video; the model's usual number if not given.
        calls: Calls of a step; the model's usual number if not given.
        title: The model, for people; the class if not given.
        weights: Where the weights are from.
        seed: Seed of latents and prompt.
        min_samples: Samples of each call before precision ends the sampling.
        max_samples: Most samples of each call.
        max_seconds: Start no other round of samples after this.
        command: The command that measured.
        on_share: Called with the share of the work that is done.
        **params: Parameters of the mask.

    Returns:
        The records of all calls, and why a dense kernel was left out.

    Raises:
        IntegrationError: The pipeline or its class is not supported, all steps are dense, weights
            are offloaded, or its attention is not PyTorch's.
        GridError: The model cannot make this size.
        SpecError: There is no such mask, parameter, schedule or layer, or a token would attend to
            nothing.
        BackendError: There is no such dense kernel, or the kernel of masks cannot run this.
    """
    for name in against or ():
        if name not in DENSE_KERNELS:
            raise BackendError(unknown("dense kernel", name, DENSE_KERNELS))
    with torch.no_grad():
        plan = plan_pipeline(
            pipe_or_transformer,
            size=size,
            frames=frames,
            mask=mask,
            schedule=schedule,
            backend=backend,
            steps=steps,
            calls=calls,
            params=params,
            dense_layers=dense_layers,
            dense_steps=dense_steps,
            dense_from_step=dense_from_step,
        )
        timer = _Timer(plan, size if frames is None else f"{size}x{frames}", backend, seed)
        records = timer.measure(
            [STOCK, *(name for name in timer.kernels(against) if name != STOCK)],
            on_share,
            min_samples=min_samples,
            max_samples=max_samples,
            max_seconds=max_seconds,
        )
        here: dict[str, Any] = {
            "title": title or type(plan.stock).__name__,
            "weights": weights,
            "environment": environment(
                command or shlex.join(["python", *(Path(one).name for one in sys.argv[:1])]),
                device=timer.device,
            ),
            "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        }
        return PipelineTimes(
            tuple(PipelineTime(**fields, **here) for fields in records), timer.left_out
        )


@dataclass(eq=False)
class _Entry:
    """A kind of call.

    Attributes:
        state: The mask of each layer.
        dense_kernel: What computes the dense ones; None if there are none.
        call: Calls the transformer, waits for the device, and returns the output.
        watch: Times attention.
        accuracy: Errors of the output.
    """

    state: State
    dense_kernel: str | None
    call: Callable[[], Tensor]
    watch: Watch
    accuracy: OutputAccuracy


@dataclass(frozen=True, eq=False)
class _Reference:
    """What outputs are compared with.

    Attributes:
        out: The output, with attention computed with more digits than the model's type has.
        tolerance: Four times the largest error that attention in the model's type has, and the
            rounding of the output.
        rms_tolerance: Three times the root of its mean square, and that rounding.
    """

    out: Tensor
    tolerance: float
    rms_tolerance: float

    @classmethod
    def of(cls, exact: Tensor, own: Tensor, unit: float) -> "_Reference":
        """Return the reference of an exact output, and one with attention in the model's type."""
        exact = exact.double()
        most, mean = _errors(own, exact)
        top, middle = float(exact.abs().max()), float(exact.square().mean().sqrt())
        bounds = 4 * most + unit * top, 3 * mean + unit * middle
        return cls(exact, *(max(bound, SMALLEST) for bound in bounds))

    def errors(self, out: Tensor, dense: Tensor | None, masked: bool) -> OutputAccuracy:
        """Return the errors of an output; of a masked one, also those of dense attention."""
        most, mean = _errors(out, self.out)
        return OutputAccuracy(
            max_abs_error=most,
            tolerance=self.tolerance,
            rms_error=mean,
            rms_tolerance=self.rms_tolerance,
            reference="the stock transformer with PyTorch's attention"
            + " under the token mask" * masked,
            dense_rms_error=None if dense is None else _errors(dense, self.out)[1],
        )


def _errors(got: Tensor, exact: Tensor) -> tuple[float, float]:
    """Return the largest error and the root of the mean square; WRONG if it is not finite."""
    errors = (got.double() - exact).abs()
    found = float(errors.max()), float(errors.square().mean().sqrt())
    return (found[0], found[1]) if all(map(math.isfinite, found)) else (WRONG, WRONG)


class _Timer:
    """Builds, compares and times the calls of a plan."""

    def __init__(self, plan: Plan, size: str, backend: str | None, seed: int) -> None:
        self.plan, self._size, self._backend = plan, size, backend
        self.device = plan.stock.device.type
        self.left_out: dict[str, str] = {}
        self._inputs = timed_inputs(plan, seed)

    def measure(
        self, kernels: Sequence[str], on_share: Callable[[float], None], **sampling: Any
    ) -> list[dict[str, Any]]:
        """Return the fields of a record for each kind of call, dense ones first."""
        attends = self._attends(kernels)
        states = sorted(self.plan.states, key=lambda state: set(state) != {None})
        dense = None
        entries: list[_Entry] = []
        for place, state in enumerate(states):
            reference = self._reference(state)
            dense = reference.out if dense is None else dense
            entries += self._compared(state, attends, reference, dense)
            on_share((place + 1) / (len(states) + 1))
        good = [one for one in entries if one.accuracy.passed]
        memory = [peak_memory(one.call, device=self.device)[1] for one in good]
        timings = measure_together([one.call for one in good], **sampling) if good else []
        spans = [
            tuple(one.watch.calls_ms[-len(timing.samples_ms) :])
            for one, timing in zip(good, timings, strict=True)
        ]
        energy = [watch(one.call) if self.device == "cuda" else None for one in good]
        found = {
            id(one): dict(
                zip(("timing", "attention_ms", "memory", "telemetry"), values, strict=True)
            )
            for one, *values in zip(good, timings, spans, memory, energy, strict=True)
        }
        none = {"timing": None, "attention_ms": (), "memory": None, "telemetry": None}
        on_share(1.0)
        return [self._fields(one) | found.get(id(one), none) for one in entries]

    def kernels(self, against: Sequence[str] | None) -> Sequence[str]:
        """Return the dense kernels to try."""
        if against is None:
            return DENSE_KERNELS if self.device == "cuda" else ()
        return against

    def _attends(self, kernels: Sequence[str]) -> dict[str, Attend | None]:
        """Return the dense kernels that run here, and note why others do not."""
        found: dict[str, Attend | None] = {}
        for name in kernels:
            if name == STOCK:
                found[name] = None
                continue
            try:
                found[name] = kernel_attend(dense_kernel(name, self.plan.grid, self.plan.shape))
            except BackendError as error:
                self.left_out[name] = str(error)
        return found

    def _reference(self, state: State) -> "_Reference":
        """Return the exact output under the masks of a state, and the tolerances of others.

        Raises:
            IntegrationError: The attention of the model is not PyTorch's.
        """
        masks: dict[int | None, MaskedAttention] = {}
        for number in sorted(set(state), key=str):
            table = None if number is None else self.plan.tables[number]
            masks[number] = MaskedAttention(table, self.plan.shape.heads, self.plan.shape.device)
        outs = []
        for exact in (True, False):
            by_layer = [masks[number].rounded(exact=exact) for number in state]
            mode = Attends(by_layer.__getitem__)
            with mode.within(self.plan.stock, range(self.plan.layers)):
                outs.append(self._out(self.plan.stock))
            if mode.seen != self.plan.layers:
                raise IntegrationError(
                    "the transformer's attention is not PyTorch's scaled_dot_product_attention, "
                    "with which results are compared: reset_attention_backend() first"
                )
        return _Reference.of(outs[0], outs[1], torch.finfo(self.plan.shape.dtype).eps / 2)

    def _compared(
        self, state: State, attends: dict[str, Attend | None], exact: "_Reference", dense: Tensor
    ) -> Iterator[_Entry]:
        """Yield the calls of a state, each with the errors of its output."""
        plan, masked = self.plan, set(state) != {None}
        still = [layer for layer, number in enumerate(state) if number is None]
        told_apart = dense if masked and plan.density(state) < 1 else None
        for name in attends if still else [None]:
            events = Watch(event_of(self.device))
            transformer = plan.stock
            if masked:
                transformer = twin(plan.stock)
                attention = apply_radial(
                    transformer,
                    size=self._size,
                    schedule=held(plan.rules, state),
                    backend=self._backend,
                )
                events.follow(attention)
            mode = None
            if name is not None:
                mode = Attends.all_by(attends[name], events)
            call = partial(self._call, transformer, mode, still, events)
            yield _Entry(state, name, call, events, exact.errors(call(), told_apart, masked))

    def _call(
        self, transformer: Any, mode: Attends | None, layers: Sequence[int], events: Watch
    ) -> Tensor:
        """Call a transformer, with its dense layers by a mode if there is one."""
        with mode.within(transformer, layers) if mode else nullcontext():
            out = self._out(transformer)
        if self.device == "cuda":
            torch.cuda.synchronize()
        events.end()
        return out

    def _out(self, transformer: Any) -> Tensor:
        with torch.no_grad():
            return video_of(transformer(**self._inputs, return_dict=False))

    def _fields(self, entry: _Entry) -> dict[str, Any]:
        plan, state = self.plan, entry.state
        sparse = [number for number in state if number is not None]
        masked = bool(sparse)
        return {
            "schema": SCHEMA,
            "transformer": type(plan.stock).__name__,
            "grid": plan.grid,
            "heads": self.plan.shape.heads,
            "head_dim": self.plan.shape.head_dim,
            "layers": plan.layers,
            "dtype": str(self.plan.shape.dtype).removeprefix("torch."),
            "schedule": plan.rules.name,
            "steps": plan.steps,
            "calls": plan.calls,
            "count": plan.states[state],
            "masks": tuple(plan.rules.masks[number].identity for number in sorted(set(sparse))),
            "sparse_layers": len(sparse),
            "density": plan.density(state),
            "kernel": plan.kernel if masked else None,
            "dense_kernel": entry.dense_kernel,
            "accuracy": entry.accuracy,
        }
