"""Time transformer blocks and whole denoising steps of the paper's videos, radial beside dense.

    python -m benchmarks.paper_step -o results/paper_step.jsonl                # blocks, every video
    python -m benchmarks.paper_step -o results/paper_step.jsonl --only hunyuanvideo/1 --step
    python -m benchmarks.paper_step --list                                     # names of videos

Needs diffusers and one GPU of 80 GB. Weights are random: times do not depend on them. A step is one
call of the transformer, which `time_pipeline` measures; guidance of Wan and Mochi calls it twice.
All kinds of attention are timed in turn; a dense kernel that is not installed is reported and left
out. Lines are added to the file; `python -m benchmarks.pages paper` makes docs/paper.md from them.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper import RADIAL, STEP, PartTime
from benchmarks.parts import measured_here
from radialbench.errors import BackendError
from radialbench.integrations.attending import (
    Attends,
    Watch,
    dense_kernel,
    event_of,
    kernel_attend,
    twin,
)
from radialbench.integrations.blueprint import Blueprint
from radialbench.integrations.inputs import call_inputs
from radialbench.integrations.pipeline import time_pipeline
from radialbench.integrations.prepared import Shape
from radialbench.kernels.backends import Run
from radialbench.kernels.measure.timing import measure_together
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.store import append
from radialbench.reports.paper import PEERS
from radialbench.reports.paper_reference import VIDEOS, Video
from radialbench.reports.rows import DENSE

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Built:
    """How diffusers builds a model: its class.

    The sizes `few` leave one block of each kind; `kinds` has each kind's attribute and its count.
    """

    name: str
    few: dict[str, int]
    kinds: dict[str, tuple[str, int]]


BUILT = {
    "wan2.1-14b": Built("WanTransformer3DModel", {"num_layers": 1}, {"block": ("blocks", 40)}),
    "hunyuanvideo": Built(
        "HunyuanVideoTransformer3DModel",
        {"num_layers": 1, "num_single_layers": 1},
        {
            "double block": ("transformer_blocks", 20),
            "single block": ("single_transformer_blocks", 40),
        },
    ),
    # Its last block makes no text; the first of two is like all others.
    "mochi-1": Built(
        "MochiTransformer3DModel", {"num_layers": 2}, {"block": ("transformer_blocks", 48)}
    ),
}


def dense_kernels(video: Video, peers: Sequence[str]) -> dict[str, Run]:
    """Plan the dense kernels that can run this video, and print why others cannot."""
    model, found = video.preset, {}
    shape = Shape(1, model.heads, model.head_dim, torch.bfloat16, torch.device("cuda"))
    for peer in peers:
        try:
            found[peer] = dense_kernel(peer, video.grid, shape)
        except BackendError as error:
            print(f"without {peer}: {error}", file=sys.stderr)
    return found


def build(model: str, device: str, **sizes: Any) -> Any:
    """Build a transformer with random weights in bfloat16."""
    made = Blueprint(BUILT[model].name, sizes).build(device, torch.bfloat16)
    return made.requires_grad_(requires_grad=False)


def inputs(transformer: Any, grid: TokenGrid) -> dict[str, Any]:
    """Draw the arguments of a call of a transformer from a seeded normal distribution."""
    timestep = torch.full((1,), 500, device=transformer.device)
    return call_inputs(transformer, grid) | {"timestep": timestep, "return_dict": False}


def captured(block: Any, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that a block gets during a call."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    with block.register_forward_pre_hook(lambda _, *given: seen.append(given), with_kwargs=True):
        call()
    return seen[0]


def parts(
    model: str, dense: Any, sparse: Any, given: dict[str, Any]
) -> Iterator[tuple[str, int, Call, Call]]:
    """Yield each kind of block, its count, and its call in the dense and the sparse transformer."""
    # Also prepares the sparse attention, which is not part of the time.
    sparse(**given)
    for kind, (name, count) in BUILT[model].kinds.items():
        one, other = getattr(dense, name)[0], getattr(sparse, name)[0]
        args, kwargs = captured(one, partial(dense, **given))
        yield kind, count, partial(one, *args, **kwargs), partial(other, *args, **kwargs)


def timed(call: Call, watch: Watch, mode: Attends | None = None, transformer: Any = None) -> Call:
    """Return a call that waits for the GPU, with attention by a mode if there is one."""

    def run() -> None:
        if mode is None:
            call()
        else:
            with mode.within(transformer, range(sys.maxsize)):
                call()
        torch.cuda.synchronize()
        watch.end()

    return run


def check(call: Call, what: str) -> None:
    """Exit if a result is not finite."""
    out = call()
    for tensor in out if isinstance(out, tuple) else (out,):
        if not torch.isfinite(tensor).all():
            raise SystemExit(f"{what}: the result is not finite")


def measure_blocks(video: Video, options: argparse.Namespace) -> Iterator[PartTime]:
    """Time the kinds of blocks of a video's model."""
    from radialbench.integrations.diffusers import apply_radial

    here = measured_here("benchmarks.paper_step")
    dense = build(video.model, "cuda", **BUILT[video.model].few)
    sparse = twin(dense)
    variant = video.masks[0][0]
    attention = apply_radial(sparse, size=video.size, mask=video.mask(variant))
    given = inputs(dense, video.grid)
    kernels = dense_kernels(video, options.peers)
    watches = {name: Watch(event_of("cuda")) for name in (RADIAL, *kernels)}
    watches[RADIAL].follow(attention)
    for part, count, stock, own in parts(video.model, dense, sparse, given):
        check(own, f"{video.title}, {part}")
        calls = {RADIAL: timed(own, watches[RADIAL])}
        for peer, run in kernels.items():
            mode = Attends.all_by(kernel_attend(run), watches[peer])
            calls[peer] = timed(stock, watches[peer], mode, dense)
        # The first round of all calls warms up.
        timings = measure_together(
            list(calls.values()),
            target=0.003,
            min_samples=min(6, options.samples),
            max_samples=options.samples,
            max_seconds=options.seconds,
        )
        for name, timing in zip(calls, timings, strict=True):
            yield PartTime(
                model=video.model,
                size=video.size,
                part=part,
                count=count,
                attention=name,
                mask=variant if name == RADIAL else DENSE,
                timing=timing,
                # The last calls are the samples.
                attention_ms=tuple(watches[name].calls_ms[-len(timing.samples_ms) :]),
                **here,
            )


def measure_step(video: Video, options: argparse.Namespace) -> Iterator[PartTime]:
    """Time whole calls of a video's model; each was compared with masked attention before.

    Raises:
        SystemExit: The masked call is wrong.
    """
    here = measured_here("benchmarks.paper_step")
    variant = video.masks[0][0]
    times = time_pipeline(
        build(video.model, "cuda"),
        size=video.size,
        mask=video.mask(variant),
        against=options.peers,
        steps=1,
        min_samples=min(6, options.samples),
        max_samples=options.samples,
        max_seconds=options.seconds,
    )
    for name, reason in times.left_out.items():
        print(f"without {name}: {reason}", file=sys.stderr)
    for one in times.records:
        if one.timing is None:
            raise SystemExit(f"{video.title}: {one.accuracy.reason}")
        if one.dense_kernel in (None, *PEERS):
            yield PartTime(
                model=video.model,
                size=video.size,
                part=STEP,
                count=1,
                attention=one.dense_kernel or RADIAL,
                mask=DENSE if one.is_dense else variant,
                timing=one.timing,
                attention_ms=one.attention_ms,
                **here,
            )


def main() -> int:
    """Measure the chosen videos."""
    names = {f"{video.model}/{video.length}": video for video in VIDEOS}
    parser = argparse.ArgumentParser(description="Time blocks and steps, radial beside dense.")
    parser.add_argument("-o", "--out", type=Path, help="add lines to this file")
    parser.add_argument("--only", nargs="+", choices=names, default=list(names), metavar="VIDEO")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=tuple(PEERS), metavar="KERNEL")
    parser.add_argument("--step", action="store_true", help="whole calls, not blocks; 1× fits")
    parser.add_argument("--samples", type=int, default=6, help="rounds after the first (6)")
    parser.add_argument("--seconds", type=float, default=60, help="limit for each part (60)")
    parser.add_argument("--list", action="store_true", help="print the names of the videos")
    options = parser.parse_args()
    if options.list or options.out is None:
        print(*names, sep="\n")
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name, video in names.items():
        if name not in options.only:
            continue
        with torch.no_grad():
            for one in (measure_step if options.step else measure_blocks)(video, options):
                append(options.out, one)
                print(f"{video.title}, {one.part}, {one.attention}: {one.timing.median_ms:,.1f} ms")
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
