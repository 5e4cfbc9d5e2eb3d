"""capture: q, k and v of a model's attention layers, written to files while the model runs."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from radialbench.errors import InputsError, IntegrationError
from radialbench.fidelity.files import SUFFIX, InputsFile, InputsHeader, open_inputs, save_inputs
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.integrations.capture_size import (
    LESS,
    CaptureSize,
    Choice,
    amount,
    check_there,
    listed,
)
from radialbench.integrations.diffusers import applied_to, refuse_parallel, transformers_of
from radialbench.integrations.models import MODELS, TransformerKind, kind_of
from radialbench.integrations.module import Denoising, RadialAttention
from radialbench.integrations.prepared import Shape
from radialbench.integrations.processors import Projected
from radialbench.machine import free_memory
from radialbench.maskgen.grid import TokenGrid


@contextmanager
def capture(
    pipe_or_transformer: Any,
    out: str | Path,
    *,
    layers: Iterable[int] | None = None,
    steps: Iterable[int] | None = None,
    heads: Iterable[int] | None = None,
    rows: int | None = None,
    seed: int = 0,
    source: str | None = None,
) -> Iterator["Capture"]:
    """Write q, k and v of attention layers while the model runs within the context.

        with capture(pipe, "captured", layers=[0, 20, 39], steps=[0, 25], rows=256):
            pipe("a cat on a surfboard")

    They are what attention gets: after norms and rotary embeddings, with the text where the model
    joins it, in raster order. A file a layer and step, `layer03-step010.safetensors`, for
    `open_inputs`. Known are the transformers that `apply_radial` knows, sparse or not, and all
    models whose attention calls a `RadialAttention`, with `at` before each call of the model.

    A step is one timestep, as for `Denoising`. All its calls are in its files as sequences, in
    the order in which they came: of a batch with and without a prompt, and of separate calls. A
    step is held in memory until the next one begins, and then written. Only the first video is
    captured. What `out` has already is kept and not captured again.

    The model computes what it computes without; compiled code runs uncompiled. Afterwards, and on
    an error, the model is as it was.

    Args:
        pipe_or_transformer: A pipeline, its transformer, or a model with `RadialAttention`.
        out: Folder of the files; made if it is not there.
        layers: Numbers of layers from 0; all of them if not given.
        steps: Numbers of denoising steps from 0; all of them if not given.
        heads: Numbers of heads from 0; all of them if not given.
        rows: Queries of each head, spread over the sequence; all of them if not given.
        seed: Seed of the queries.
        source: What the files say they are from; the model's name if not given.

    Yields:
        The capture: its size once the model was called, and what was written.

    Raises:
        IntegrationError: The model is not known, a layer or head is not there, or, at the end, a
            layer or step was never reached; what was captured is kept.
        InputsError: Disk or memory are too small, a number is not finite, or `out` has files of
            other settings.
        OSError: A file cannot be written.
    """
    transformers = transformers_of(pipe_or_transformer)
    layers, steps, heads = (one if one is None else tuple(one) for one in (layers, steps, heads))
    choice = Choice(layers, steps, heads, rows, seed)
    run = Capture(Path(out), choice, source or _name(pipe_or_transformer, transformers[0]))
    with ExitStack() as hooks:
        for transformer in transformers:
            run.attach(transformer, hooks)
        # Compiled code may have no place for hooks.
        hooks.enter_context(torch.compiler.set_stance("force_eager"))
        yield run
    run.finish()


class Capture:
    """A capture under way.

    Attributes:
        out: Folder of the files.
        choice: What is captured.
        source: What the files say they are from.
        size: How much it writes, kept files included; None before the first call. The sequences
            of a step are those of its first call, until a step ended.
        written: Files that were written.
        kept: Files that were there.
    """

    def __init__(self, out: Path, choice: Choice, source: str) -> None:
        self.out, self.choice, self.source = out, choice, source
        self.size: CaptureSize | None = None
        self.written: list[Path] = []
        self.kept: list[Path] = []
        self._denoising = Denoising()
        self._layout: tuple[TokenGrid, Shape] | None = None
        self._queries: Tensor | None = None
        self._there: dict[tuple[int, int], InputsFile] = {}
        self._at: tuple[int, int] | None = None
        """Video and step."""
        self._first = 0
        """The video that is captured."""
        self._sequences: Counter[int] = Counter()
        """Sequences of each layer in this step."""
        self._layers: set[int] = set()
        self._steps: set[int] = set()
        self._parts: dict[int, list[Projected]] = {}
        """What was captured in this step, a call each."""

    def attach(self, transformer: Any, hooks: ExitStack) -> None:
        """Hook a transformer until the hooks close.

        Raises:
            IntegrationError: It is not known, or a layer or head is not there.
        """
        attentions = [one for one in transformer.modules() if isinstance(one, RadialAttention)]
        if attentions and type(transformer).__name__ not in MODELS:
            called: set[int] = set()
            alone = attentions[0] is transformer
            for number, attention in enumerate(attentions):
                after = partial(self._after_radial, called, None if alone else number)
                hooks.callback(attention.register_forward_hook(after, with_kwargs=True).remove)
            begin = transformer.register_forward_pre_hook(lambda module, args: called.clear())
            hooks.callback(begin.remove)
            return
        kind = kind_of(transformer)
        layers = kind.known_attentions(transformer)
        check_there("layer", self.choice.layers, len(layers))
        check_there("head", self.choice.heads, kind.heads(transformer.config)[0])
        self._denoising = Denoising(rising=kind.rising, timesteps=kind.timesteps)
        before = partial(self._before_call, kind, range(len(layers)))
        hooks.callback(transformer.register_forward_pre_hook(before, with_kwargs=True).remove)
        for layer, attention in enumerate(layers):
            take = partial(self._before_attention, kind, transformer, layer)
            hooks.callback(attention.register_forward_pre_hook(take, with_kwargs=True).remove)

    def finish(self) -> None:
        """Write the last step.

        Raises:
            IntegrationError: Something that was chosen was never reached.
            InputsError: As `capture`.
        """
        self._end_step()
        if self._layout is None:
            raise IntegrationError("the model was not called within capture: nothing is captured")
        for what, chosen, reached in (
            ("step", self.choice.steps, self._steps),
            ("layer", self.choice.layers, self._layers),
        ):
            if missing := sorted(set(chosen or ()) - reached):
                raise IntegrationError(
                    f"{what} {listed(missing)} was never reached: there were {what}s "
                    f"{min(reached)} to {max(reached)}; {self.out} has what was captured of them"
                )

    def _before_call(
        self,
        kind: TransformerKind,
        layers: range,
        transformer: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        refuse_parallel(transformer)
        call = kind.call(transformer, args, kwargs)
        if call is None:
            return  # The transformer says what is missing.
        self._denoising.at(call.timestep)
        if self._begin_step(self._denoising):
            sides = zip(call.latents, kind.patch(transformer.config), strict=True)
            frames, height, width = (latents // patch for latents, patch in sides)
            text, first = call.text_tokens or 0, kind.model(transformer).text_first
            grid = TokenGrid(frames, height, width, text_tokens=text, text_first=first)
            self._count(grid, call.shape, layers)

    def _before_attention(
        self,
        kind: TransformerKind,
        transformer: nn.Module,
        layer: int,
        attention: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if self._wants(layer):
            with torch.no_grad():
                made = kind.processor.project(attention, *args, **kwargs)
                self._take(layer, made, applied_to(transformer))

    def _after_radial(
        self,
        called: set[int],
        number: int | None,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Tensor,
    ) -> None:
        attention: Any = module
        given = dict(zip("qkv", args, strict=False)) | kwargs
        layer = given["layer"] if given.get("layer") is not None else number
        if layer is None or layer in called:
            raise IntegrationError(
                "a RadialAttention that several layers share has to be told which one calls: "
                "attention(q, k, v, layer=3)"
            )
        if attention.denoising.video < 0:
            raise IntegrationError(
                "capture counts steps by timesteps: call attention.at(timestep) of the "
                "RadialAttention before each call of the model"
            )
        if number is not None:
            called.add(layer)
        if self._begin_step(attention.denoising):
            q, k, v = (given[name] for name in "qkv")
            grid, text_len = attention.grid_with(given.get("text_tokens")), given.get("text_len")
            batch, heads, _, head_dim = q.shape
            shape = Shape(batch, heads, head_dim, q.dtype, q.device, k.shape[1])
            self._count(grid, shape, [layer])
            if self._wants(layer):
                text_len = None if text_len is None else text_len.clamp(0, grid.text_tokens)
                self._take(layer, Projected(q, k, v, grid.text_tokens, text_len), attention)

    def _begin_step(self, denoising: Denoising) -> bool:
        """Write the step that ended, if this is another; return whether this is the first video."""
        if (denoising.video, denoising.step) != self._at:
            self._end_step()
            self._at = denoising.video, denoising.step
            if self._layout is None:
                self._first = denoising.video
        if denoising.video == self._first:
            self._steps.add(denoising.step)
        return denoising.video == self._first

    def _count(self, grid: TokenGrid, shape: Shape, layers: Collection[int]) -> None:
        """Take note of a call of layers; of the first one, see whether all of it can be written."""
        if self._layout is None:
            self._queries = self.choice.queries(grid.q_len)
            self._check_settings(grid, shape)
            self._layers.update(layers)
            self._check_space(grid, shape)
            self.out.mkdir(parents=True, exist_ok=True)
            self._layout = grid, shape
        if grid != self._layout[0]:
            raise IntegrationError(
                f"a call has {grid.label} tokens, and the first one {self._layout[0].label}: the "
                "calls of a capture have one size, and texts padded to one length"
            )
        self._layers.update(layers)
        self._sequences.update(dict.fromkeys(layers, shape.batch))

    def _wants(self, layer: int) -> bool:
        """Return whether a layer is captured in this step."""
        if self._at is None or self._at[0] != self._first:
            return False
        step, choice = self._at[1], self.choice
        chosen = choice.steps is None or step in choice.steps
        chosen &= choice.layers is None or layer in choice.layers
        return chosen and (layer, step) not in self._there

    def _take(self, layer: int, made: Projected, attention: RadialAttention | None) -> None:
        """Keep what is chosen of q, k and v, on the CPU; attention says in which order they are."""
        q, k, v = made.q, made.k, made.v
        if attention is not None and attention.in_order:
            q, k, v = (attention.to_raster(x, 2) for x in (q, k, v))
        if self.choice.heads is not None:
            heads = torch.tensor(self.choice.heads, device=q.device)
            shared = q.shape[1] // k.shape[1]
            if len(heads) < q.shape[1]:
                q, k, v = q[:, heads], k[:, heads // shared], v[:, heads // shared]
        if self._queries is not None:
            q = q[:, :, self._queries.to(q.device)]
        # A copy, as the model may go on to write where they are.
        q, k, v = (x.detach().to("cpu", copy=True).contiguous() for x in (q, k, v))
        self._parts.setdefault(layer, []).append(made._replace(q=q, k=k, v=v))

    def _end_step(self) -> None:
        """Write what was captured in the step that ended."""
        if self._layout is None or self._at is None or self._at[0] != self._first:
            return
        grid, shape = self._layout
        self._check_space(grid, replace(shape, batch=max(self._sequences.values())))
        for layer in sorted(self._parts):
            self._write(grid, layer, self._at[1], self._parts.pop(layer))
        self._sequences.clear()

    def _write(self, grid: TokenGrid, layer: int, step: int, parts: list[Projected]) -> None:
        lengths = [part.text_len for part in parts if part.text_len is not None]
        header = replace(
            self._header(grid, self._layout[1].heads if self._layout else 1),
            layer=layer,
            step=step,
            text_lengths=tuple(torch.cat(lengths).tolist()) if lengths else None,
        )
        path = self.out / f"layer{layer:02}-step{step:03}{SUFFIX}"
        q, k, v = (torch.cat([getattr(part, name) for part in parts]) for name in "qkv")
        parts.clear()
        try:
            inputs = AttentionInputs(q, k, v, header, self._queries)
            inputs.check_finite()
        except InputsError as error:
            raise InputsError(f"layer {layer}, step {step}: {error}") from None
        for file in self._there.values():
            own = len(q), header.text_lengths
            _refuse_other(file, "sequences", own[0], file.shape[0])
            _refuse_other(file, "text lengths", own[1], file.header.text_lengths)
        save_inputs(inputs, path)
        (self._there[layer, step],) = open_inputs(path)
        self.written.append(path)

    def _header(self, grid: TokenGrid, heads: int) -> InputsHeader:
        """Return what the headers of all files share."""
        return InputsHeader(grid, self.source, "captured", self.choice.heads or tuple(range(heads)))

    def _check_settings(self, grid: TokenGrid, shape: Shape) -> None:
        """Find the files that are there; refuse those of other settings."""
        header = self._header(grid, shape.heads)
        rows = grid.q_len if self._queries is None else len(self._queries)
        dtype = str(shape.dtype).removeprefix("torch.")
        for path in sorted(self.out.glob(f"layer*-step*{SUFFIX}")):
            (file,) = open_inputs(path)
            for name in ("grid", "source", "kind", "heads", "sm_scale"):
                _refuse_other(file, name, getattr(header, name), getattr(file.header, name))
            _refuse_other(file, "rows", rows, file.shape[2])
            _refuse_other(file, "head_dim", shape.head_dim, file.shape[3])
            _refuse_other(file, "dtype", dtype, file.dtype)
            if self._queries is not None and not self._queries.equal(_rows(file)):
                raise InputsError(f"{path} has other rows: give its seed, or another folder")
            if file.header.layer is not None and file.header.step is not None:
                self._there[file.header.layer, file.header.step] = file
                self.kept.append(path)

    def _check_space(self, grid: TokenGrid, shape: Shape) -> None:
        """Refuse what does not fit on the disk or, where nothing is held yet, into memory."""
        layers = self._layers if self.choice.layers is None else self.choice.layers
        steps = self._steps if self.choice.steps is None else self.choice.steps
        self.size = self.choice.size(grid, shape, len(layers) * len(steps))
        left = {(layer, step) for layer in layers for step in steps} - self._there.keys()
        replace(self.size, files=len(left)).check_space(self.out)
        # All layers of a step, and two copies of what is written.
        held, free = (len(layers) + 2) * self.size.file_bytes, free_memory()
        if left and not self._parts and free is not None and held > free:
            raise InputsError(
                f"the capture holds a step in memory, {amount(held)}, and {amount(free)} are "
                f"free; {LESS}, in several runs into one folder if need be"
            )


def _refuse_other(file: InputsFile, what: str, wanted: object, found: object) -> None:
    if wanted != found:
        shown = [getattr(one, "label", one) for one in (found, wanted)]
        raise InputsError(
            f"{file.path} was captured with {what} {shown[0]}, and this capture has {shown[1]}: "
            "give another folder"
        )


def _rows(file: InputsFile) -> Tensor:
    with safe_open(file.path, "pt") as tensors:
        rows: Tensor = tensors.get_tensor("rows")
    return rows


def _name(*models: Any) -> str:
    """Return the name that a pipeline, or else its transformer, was loaded by."""
    configs = [getattr(model, "config", None) for model in models]
    given = [config.get("_name_or_path") for config in configs if isinstance(config, dict)]
    for path in (Path(name) for name in given if name):
        return path.parent.name if path.name == "transformer" else path.name
    return type(models[-1]).__name__
