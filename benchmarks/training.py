"""Time training steps of transformer blocks under LoRA, on the paper's videos, radial beside dense.

    python -m benchmarks.training -o results/training.jsonl                     # every video
    python -m benchmarks.training -o results/training.jsonl --only wan2.1-14b/1
    python -m benchmarks.training --list                                        # names of videos

Needs diffusers, PEFT and one GPU of 141 GB. A step is the forward pass of one block, that pass once
more (activation checkpointing) and the backward pass; weights are random and frozen, but for LoRA
on the projections of attention. Dense attention is FlashAttention 3's forward pass, if `fa3-fwd` is
installed, with our gradients. All kinds of attention are timed in turn. Lines are added to the
file; `python -m benchmarks.pages paper` makes their part of docs/paper.md.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.paper_step import BUILT, build, dense_kernels, inputs
from benchmarks.parts import RESULTS, Timed, measured_here, read_lines, source_of
from radialbench.integrations.attending import twin
from radialbench.kernels.backends import Run
from radialbench.kernels.backward import block_sparse_attention_backward
from radialbench.kernels.measure.timing import measure_together
from radialbench.kernels.op import device_table
from radialbench.maskgen.compiler import compile_mask
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.records.statistics import Estimate
from radialbench.records.store import append
from radialbench.reports.paper_reference import VIDEOS, Video
from radialbench.reports.rows import DENSE, interleaved_ratio
from radialbench.reports.text import EMPTY_CELL, format_sig3, markdown_table

STORED = RESULTS / "training.jsonl"

RADIAL = "radial"
FORWARD = "fa3"
"""The dense forward pass of the attention `fa3`, which has our gradients."""

RANK = 16
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
CARDS = (80, 141)
"""Memory of an H100 and of an H200 in 10⁹ bytes."""

PARAMETERS = {"wan2.1-14b": 14.3e9, "hunyuanvideo": 12.8e9, "mochi-1": 10.0e9}
"""Of the transformers, by their configurations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTime(Timed):
    """The time of a training step of one block.

    Attributes:
        model: The model.
        size: Pixels and frames.
        part: Kind of the block.
        count: How many such blocks the model has.
        attention: `radial`, or a dense kernel: `hopper`, or `fa3` with our gradients.
        mask: Variant of the mask, or `dense`.
        peak_bytes: Most memory that was allocated, without the weights of the block.
    """

    model: str
    size: str
    part: str
    count: int
    attention: str
    mask: str
    peak_bytes: int


class Fa3(torch.autograd.Function):
    """FlashAttention 3 forward, and our gradients of dense attention."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, run: Run, table: Any) -> Tensor:
        """Attend."""
        out, lse = run(q, k, v)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.table = table
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return dq, dk and dv."""
        q, k, v, out, lse = ctx.saved_tensors
        found = block_sparse_attention_backward(grads[0], q, k, v, out, lse, ctx.table)
        return (*found, None, None)


def attend_by(transformer: nn.Module, run: Run, grid: TokenGrid) -> None:
    """Have every sparse layer attend densely, by a kernel of another library and our gradients."""
    from radialbench.integrations.processors import RadialProcessor

    table = device_table(compile_mask(load_mask(DENSE), grid), "cuda")

    class Attention(nn.Module):
        schedule = None

        def forward(self, q: Tensor, k: Tensor, v: Tensor, **_: Any) -> Tensor:
            out: Tensor = Fa3.apply(q, k, v, run, table)  # type: ignore[no-untyped-call]
            return out

    for module in transformer.modules():
        processor = getattr(module, "processor", None)
        if isinstance(processor, RadialProcessor):
            other: Any = Attention()
            other.schedule = processor.attention.schedule
            processor.attention = other


def adapt(block: nn.Module, rank: int = RANK) -> None:
    """Add LoRA to a block's projections of attention, by PEFT."""
    from peft import LoraConfig, inject_adapter_in_model

    there = {name for name, _ in block.named_modules()}
    targets = [f"attn1.{name}" for name in PROJECTIONS if f"attn1.{name}" in there]
    targets = targets or [name for name in PROJECTIONS if f"attn.{name}" in there]
    like = next(block.parameters())
    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, init_lora_weights=False), block
    )
    for name, weight in block.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(like.device, like.dtype)
            weight.requires_grad_()


class Reached(Exception):
    """A call of the model has reached the block whose arguments are wanted."""


def arguments(block: nn.Module, call: Callable[[], object]) -> dict[str, Any]:
    """Return the arguments of a block by name in a call of the model, which ends there."""
    seen: dict[str, Any] = {}

    def stop(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.update(inspect.signature(block.forward).bind(*args, **kwargs).arguments)
        raise Reached

    handle = block.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        call()
    except Reached:
        pass
    finally:
        handle.remove()
    return seen


Step = Callable[[], list[Tensor | None]]


def step_of(block: nn.Module, arguments: dict[str, Any], given: Sequence[Tensor]) -> Step:
    """Return a training step: the gradients of the block's input and of LoRA's weights.

    Args:
        block: The block.
        arguments: Its arguments by name.
        given: The gradient of each output.
    """
    hidden = arguments["hidden_states"].detach().requires_grad_()
    arguments = arguments | {"hidden_states": hidden}
    trained = [weight for weight in block.parameters() if weight.requires_grad]

    def step() -> list[Tensor | None]:
        outs = checkpoint(block, use_reentrant=False, **arguments)
        outs = outs if isinstance(outs, tuple) else (outs,)
        found = torch.autograd.grad(outs, [hidden, *trained], given, allow_unused=True)
        if hidden.is_cuda:
            torch.cuda.synchronize()
        return list(found)

    return step


def gradients_like(block: nn.Module, arguments: dict[str, Any]) -> list[Tensor]:
    """Draw a gradient for each output of a block."""
    with torch.no_grad():
        found = block(**arguments)
    hidden = arguments["hidden_states"]
    draw = torch.Generator(hidden.device).manual_seed(1)
    like: dict[str, Any] = {"generator": draw, "device": hidden.device, "dtype": hidden.dtype}
    outs = found if isinstance(found, tuple) else (found,)
    return [torch.randn(out.shape, **like) for out in outs]


def variants(video: Video, stock: Any, grid: TokenGrid, device: str) -> dict[str, Any]:
    """Return the transformers to time, by their attention; they share weights."""
    from radialbench.integrations.diffusers import apply_radial

    pixels, _, frames = video.size.rpartition("x")
    kinds: dict[str, Any] = {RADIAL: video.mask(video.masks[0][0]), "hopper": DENSE}
    runs = dense_kernels(video, [FORWARD]) if device == "cuda" else {}
    if runs:
        kinds[FORWARD] = kinds.pop("hopper")
    found = {}
    for name, mask in kinds.items():
        found[name] = twin(stock)
        apply_radial(found[name], size=pixels, frames=int(frames), mask=mask)
        if name == FORWARD:
            attend_by(found[name], runs[name], grid)
    return found


def measure(video: Video, options: argparse.Namespace) -> Iterator[TrainingTime]:
    """Time a block of each kind of a video's model."""
    here = measured_here("benchmarks.training")
    built = BUILT[video.model]
    stock = build(video.model, "cuda", **built.few)
    for name, _ in built.kinds.values():
        adapt(getattr(stock, name)[0])
    given = inputs(stock, video.grid)
    models = variants(video, stock, video.grid, "cuda")
    for part, (name, count) in built.kinds.items():
        if options.parts and part not in options.parts:
            continue
        steps, peaks, grads = {}, {}, None
        for attention, model in models.items():
            block = getattr(model, name)[0]
            with torch.no_grad():  # Prepares the attention, too.
                taken = arguments(block, partial(model, **given))
            grads = grads or gradients_like(block, taken)
            steps[attention] = step_of(block, taken, grads)
            peaks[attention] = peak_of(steps[attention], f"{video.title}, {part}, {attention}")
        timings = measure_together(
            list(steps.values()),
            min_samples=options.samples,
            max_samples=options.samples,
            max_seconds=options.seconds,
            warmups=0,  # Each was called.
        )
        for attention, timing in zip(steps, timings, strict=True):
            yield TrainingTime(
                model=video.model,
                size=video.size,
                part=part,
                count=count,
                attention=attention,
                mask=video.masks[0][0] if attention == RADIAL else DENSE,
                peak_bytes=peaks[attention],
                timing=timing,
                **here,
            )


def peak_of(step: Step, what: str) -> int:
    """Return the most memory that a step needs beside what was there before.

    Raises:
        SystemExit: A gradient is not finite.
    """
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    found = step()
    peak = torch.cuda.max_memory_allocated() - before
    check_finite(found, what)
    return peak


def check_finite(grads: Iterable[Tensor | None], what: str) -> None:
    """Exit if a gradient is not finite."""
    if not all(bool(torch.isfinite(one).all()) for one in grads if one is not None):
        raise SystemExit(f"{what}: not all gradients are finite")


def main() -> int:
    """Measure the chosen videos, shorter ones first."""
    names = {f"{video.model}/{video.length}": video for video in VIDEOS}
    parser = argparse.ArgumentParser(description="Time training steps, radial beside dense.")
    parser.add_argument("-o", "--out", type=Path, help="add lines to this file")
    parser.add_argument("--only", nargs="+", choices=names, default=list(names), metavar="VIDEO")
    parser.add_argument("--samples", type=int, default=6, help="rounds (6)")
    parser.add_argument("--seconds", type=float, default=10, help="limit for each part (10)")
    parser.add_argument("--parts", nargs="+", metavar="KIND", help="kinds of blocks, if not all")
    parser.add_argument("--list", action="store_true", help="print the names of the videos")
    options = parser.parse_args()
    if options.list or options.out is None:
        print(*names, sep="\n")
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        title = names[name].title
        try:
            for one in measure(names[name], options):
                append(options.out, one)
                median, peak = one.timing.median_ms, one.peak_bytes / 1e9
                print(f"{title}, {one.part}, {one.attention}: {median:,.1f} ms, {peak:.1f} GB")
        except torch.OutOfMemoryError as error:
            print(f"{title} does not fit: {error}")
        sys.stdout.flush()
        torch.cuda.empty_cache()
    return 0


@dataclass(frozen=True, slots=True)
class Trained:
    """The dense and the radial time of one kind of block of a video's model."""

    video: Video
    radial: TrainingTime
    dense: TrainingTime

    @property
    def over(self) -> Estimate:
        """How many times as long the dense step takes, in pairs of samples."""
        return interleaved_ratio(self.dense.timing, self.radial.timing)


def trained(times: Iterable[TrainingTime]) -> list[Trained]:
    """Pair the times of every kind of block with those of its fastest dense attention."""
    found = []
    for video in VIDEOS:
        own = [t for t in times if (t.model, t.size) == (video.model, video.size)]
        for part in dict.fromkeys(one.part for one in own):
            rows = {one.attention: one for one in own if one.part == part}
            dense = [one for name, one in rows.items() if name != RADIAL]
            if RADIAL in rows and dense:
                fastest = min(dense, key=lambda one: one.timing.median_ms)
                found.append(Trained(video, rows[RADIAL], fastest))
    return found


NAMES = {"hopper": "ours", FORWARD: "FA3, gradients ours"}
CLAIM = {("hunyuanvideo", 4): 4.4}
"""How many times cheaper the paper's tuning for 4× is, at most (arXiv 2506.19852, abstract)."""


def step_table(found: Sequence[Trained]) -> str:
    """Format the time and the memory of every kind of block."""
    headings = (
        *("video", "block", "dense kernel", "dense ms", "radial ms", "times as long", "paper"),
        *("peak GB, dense", "peak GB, radial", "samples"),
    )
    body = []
    for one in found:
        claim = CLAIM.get((one.video.model, one.video.length))
        body.append(
            (
                one.video.title,
                one.radial.part,
                NAMES[one.dense.attention],
                *(format_sig3(t.timing.median_ms) for t in (one.dense, one.radial)),
                f"{one.over:.2f}",
                f"{claim}× at most" if claim else EMPTY_CELL,
                *(f"{t.peak_bytes / 1e9:.1f}" for t in (one.dense, one.radial)),
                str(len(one.radial.timing.samples_ms)),
            )
        )
    return markdown_table(headings, body, text_columns=3)


def room_table(found: Sequence[Trained]) -> str:
    """Format how long a video fits, by the measured peaks."""
    headings = ("model", "attention", *(f"frames in {card} GB" for card in CARDS))
    body = []
    for model in dict.fromkeys(one.video.model for one in found):
        for attention in ("radial", "dense"):
            rows = [one for one in found if one.video.model == model]
            cells = [str(frames_in(card * 10**9, rows, attention) or EMPTY_CELL) for card in CARDS]
            body.append((rows[0].video.preset.title, attention, *cells))
    return markdown_table(headings, body, text_columns=2)


def frames_in(room: float, rows: Sequence[Trained], attention: str) -> int | None:
    """Return the frames of the longest video that fits; None if none does.

    Taken are the weights in 16 bits, the input of every block, which checkpointing keeps, and the
    peak of a block by token, the most of all that were measured.
    """
    model, video = rows[0].video.preset, rows[0].video
    width = 2 * model.heads * model.head_dim * model.layers
    peak = max(getattr(row, attention).peak_bytes / row.video.grid.seq_len for row in rows)
    tokens = (room - 2 * PARAMETERS[video.model]) / (width + peak)
    pixels = video.size.rpartition("x")[0]
    longest = None
    for latents in range(1, 10_000):
        frames = model.vae[0] * (latents - 1) + 1
        if model.grid(f"{pixels}x{frames}").seq_len > tokens:
            break
        longest = frames
    return longest


def parts() -> dict[str, str]:
    """Return the generated part of docs/paper.md."""
    times = read_lines(STORED, TrainingTime)
    found = trained(times)
    return {"training": f"{step_table(found)}\n\n{room_table(found)}\n\n{source_of(times[-1])}"}


if __name__ == "__main__":
    sys.exit(main())
