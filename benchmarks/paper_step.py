"""Time transformer blocks and whole denoising steps of the paper's videos, radial beside dense.

    python -m benchmarks.paper_step -o results/paper_step.jsonl                # blocks, every video
    python -m benchmarks.paper_step -o results/paper_step.jsonl --only hunyuanvideo/1 --step
    python -m benchmarks.paper_step --list                                     # names of videos

Needs diffusers and one GPU of 80 GB. Weights are random: times do not depend on them. A step is one
call of the transformer; guidance of Wan and Mochi calls it twice. All kinds of attention are timed
in turn; a dense kernel that is not installed is reported and left out. Lines are added to the file;
`python -m benchmarks.pages paper` makes docs/paper.md from them.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from benchmarks.paper import RADIAL, STEP, PartTime
from benchmarks.parts import measured_here
from radialbench import compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels.backends import Run, load_backend
from radialbench.kernels.measure.timing import measure_together
from radialbench.maskgen.grid import TokenGrid, load_model
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.store import append
from radialbench.reports.paper import PEERS
from radialbench.reports.paper_reference import VIDEOS, Video
from radialbench.reports.rows import DENSE

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Built:
    """How diffusers builds a model: its class, and the channels of its latents.

    The sizes `few` leave one block of each kind; `kinds` has each kind's attribute and its count.
    """

    name: str
    channels: int
    few: dict[str, int]
    kinds: dict[str, tuple[str, int]]


BUILT = {
    "wan2.1-14b": Built("WanTransformer3DModel", 16, {"num_layers": 1}, {"block": ("blocks", 40)}),
    "hunyuanvideo": Built(
        "HunyuanVideoTransformer3DModel",
        16,
        {"num_layers": 1, "num_single_layers": 1},
        {
            "double block": ("transformer_blocks", 20),
            "single block": ("single_transformer_blocks", 40),
        },
    ),
    # Its last block makes no text; the first of two is like all others.
    "mochi-1": Built(
        "MochiTransformer3DModel", 12, {"num_layers": 2}, {"block": ("transformer_blocks", 48)}
    ),
}


timed_event = partial(torch.cuda.Event, enable_timing=True)


class Watch:
    """Times attention within calls of a model; `calls_ms` has one value per call."""

    def __init__(self, event: Callable[[], torch.cuda.Event] = timed_event) -> None:
        self.calls_ms: list[float] = []
        self._event = event
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def begin(self) -> None:
        """Record the start of attention."""
        self._marks.append((self._event(), self._event()))
        self._marks[-1][0].record()

    def done(self) -> None:
        """Record the end of attention."""
        self._marks[-1][1].record()

    def end(self) -> None:
        """Add up a call of the model, once the GPU has finished it."""
        self.calls_ms.append(sum(start.elapsed_time(stop) for start, stop in self._marks))
        self._marks.clear()

    def follow(self, attention: torch.nn.Module) -> None:
        """Time every call of a module."""
        attention.register_forward_pre_hook(lambda *_: self.begin())
        attention.register_forward_hook(lambda *_: self.done())


class Attends(TorchFunctionMode):
    """Computes self-attention of one length with a kernel, in any model.

    Masks are dropped: these models mask only the padding of the text, and there is none here.
    """

    def __init__(self, seq_len: int, run: Run, watch: Watch) -> None:
        super().__init__()
        self.seq_len = seq_len
        self.run = run
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the kernel in place of PyTorch's attention."""
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        q, k, v = named["query"], named["key"], named["value"]
        if {q.shape[2], k.shape[2]} != {self.seq_len}:
            return func(*args, **kwargs)
        self.watch.begin()
        out, _ = self.run(q, k, v)
        self.watch.done()
        return out


def dense_kernels(video: Video, peers: Sequence[str]) -> dict[str, Run]:
    """Plan the dense kernels that can run this video, and print why others cannot."""
    model, grid = video.preset, video.grid
    spec, config = load_mask(DENSE), KernelConfig()
    table = compile_mask(spec, grid)
    shape: dict[str, Any] = {"batch": 1, "heads": model.heads, "head_dim": model.head_dim}
    problem = Problem(mask_fingerprint=spec.fingerprint, grid=grid, dtype="bfloat16", **shape)
    found = {}
    for peer in peers:
        try:
            found[peer] = load_backend(peer).plan(problem, table, config)
        except BackendError as error:
            print(f"without {peer}: {error}", file=sys.stderr)
    return found


def build(model: str, device: str, **sizes: int) -> Any:
    """Build a transformer with random weights in bfloat16."""
    import diffusers

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            made = getattr(diffusers, BUILT[model].name)(**sizes)
    finally:
        torch.set_default_dtype(before)
    return made.eval().requires_grad_(requires_grad=False)


def twin(transformer: Any) -> Any:
    """Copy a transformer's modules, and share its weights."""
    shared: dict[int, Any] = {id(weight): weight for weight in transformer.parameters()}
    return copy.deepcopy(transformer, shared)


def inputs(model: str, grid: TokenGrid, device: str) -> dict[str, Any]:
    """Draw the arguments of a call of a transformer from a seeded normal distribution."""
    torch.manual_seed(0)
    like: dict[str, Any] = {"device": device, "dtype": torch.bfloat16}
    shape = (1, BUILT[model].channels, grid.frames, 2 * grid.height, 2 * grid.width)
    text = load_model(model).cross_tokens or grid.text_tokens
    given: dict[str, Any] = {
        "hidden_states": torch.randn(shape, **like),
        "timestep": torch.full((1,), 500, device=device),
        "encoder_hidden_states": torch.randn(1, text, 4096, **like),
        "return_dict": False,
    }
    if grid.text_tokens:
        given["encoder_attention_mask"] = torch.ones(1, text, dtype=torch.bool, device=device)
    if model == "hunyuanvideo":
        given["pooled_projections"] = torch.randn(1, 768, **like)
        given["guidance"] = torch.full((1,), 6000.0, **like)
    return given


def captured(block: Any, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that a block gets during a call."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    with block.register_forward_pre_hook(lambda _, *given: seen.append(given), with_kwargs=True):
        call()
    return seen[0]


def parts(
    model: str, dense: Any, sparse: Any, given: dict[str, Any], *, step: bool
) -> Iterator[tuple[str, int, Call, Call]]:
    """Yield each part, its count, and its call in the dense and in the sparse transformer."""
    # Also prepares the sparse attention, which is not part of the time.
    sparse(**given)
    if step:
        yield STEP, 1, partial(dense, **given), partial(sparse, **given)
        return
    for kind, (name, count) in BUILT[model].kinds.items():
        one, other = getattr(dense, name)[0], getattr(sparse, name)[0]
        args, kwargs = captured(one, partial(dense, **given))
        yield kind, count, partial(one, *args, **kwargs), partial(other, *args, **kwargs)


def under(mode: TorchFunctionMode | None, call: Call, watch: Watch) -> Call:
    """Return a call that waits for the GPU, with attention computed by a mode if there is one."""

    def run() -> None:
        with mode or nullcontext():
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


def measure(video: Video, options: argparse.Namespace) -> Iterator[PartTime]:
    """Time the parts of a video."""
    from radialbench.integrations.diffusers import apply_radial

    here = measured_here("benchmarks.paper_step")
    sizes = {} if options.step else BUILT[video.model].few
    dense = build(video.model, "cuda", **sizes)
    sparse = twin(dense)
    variant = video.masks[0][0]
    pixels, _, frames = video.size.rpartition("x")
    attention = apply_radial(sparse, size=pixels, frames=int(frames), mask=video.mask(variant))
    given = inputs(video.model, video.grid, "cuda")
    kernels = dense_kernels(video, options.peers)
    watches = {name: Watch() for name in (RADIAL, *kernels)}
    watches[RADIAL].follow(attention)
    for part, count, stock, own in parts(video.model, dense, sparse, given, step=options.step):
        check(own, f"{video.title}, {part}")
        calls = {RADIAL: under(None, own, watches[RADIAL])}
        for peer, run in kernels.items():
            mode = Attends(video.grid.seq_len, run, watches[peer])
            calls[peer] = under(mode, stock, watches[peer])
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
            for one in measure(video, options):
                append(options.out, one)
                print(f"{video.title}, {one.part}, {one.attention}: {one.timing.median_ms:,.1f} ms")
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
