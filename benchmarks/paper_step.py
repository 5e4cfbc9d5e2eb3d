"""Time transformer blocks and whole denoising steps of the paper's videos, radial beside dense.

    python -m benchmarks.paper_step -o results/paper_step.jsonl                # blocks, every video
    python -m benchmarks.paper_step -o results/paper_step.jsonl --only hunyuanvideo/1 --step
    python -m benchmarks.paper_step --list                                     # what there is

Needs diffusers and one GPU of 80 GB. Weights are random: times do not depend on them. A step is one
call of the transformer; guidance of Wan and Mochi calls it twice. All kinds of attention are timed
in turn; a dense kernel that is not installed is told and left out. Lines are added to the file;
`python -m benchmarks.pages paper` makes docs/paper.md of them.
"""

import argparse
import copy
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from benchmarks.paper import RADIAL, STEP, PartTime
from radialbench import compile_mask, load_mask
from radialbench.errors import BackendError
from radialbench.kernels.backends import Run, load_backend
from radialbench.kernels.measure.environment import environment
from radialbench.kernels.measure.timing import measure_together
from radialbench.maskgen.grid import TokenGrid, load_model
from radialbench.records.measurement import Measurement
from radialbench.records.problem import KernelConfig, Problem
from radialbench.records.store import append
from radialbench.reports.paper import PEERS
from radialbench.reports.paper_reference import VIDEOS, Video
from radialbench.reports.rows import DENSE

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Built:
    """How diffusers builds a model.

    Attributes:
        name: Its class.
        channels: Of the latents.
        few: What makes it as small as it can be with a block of each kind.
        kinds: Where the blocks of each kind are, and how many a call has.
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
    # Its last block makes no text: of two, the first is like all others.
    "mochi-1": Built(
        "MochiTransformer3DModel", 12, {"num_layers": 2}, {"block": ("transformer_blocks", 48)}
    ),
}


timed_event = partial(torch.cuda.Event, enable_timing=True)


class Watch:
    """Takes the time of attention within calls of a model.

    Attributes:
        calls_ms: For each call that has ended, how long its attention took.
    """

    def __init__(self, event: Callable[[], torch.cuda.Event] = timed_event) -> None:
        self.calls_ms: list[float] = []
        self._event = event
        self._marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def begin(self) -> None:
        """Attention begins."""
        self._marks.append((self._event(), self._event()))
        self._marks[-1][0].record()

    def done(self) -> None:
        """It has ended."""
        self._marks[-1][1].record()

    def end(self) -> None:
        """Sum up a call of the model, when the GPU is done with it."""
        self.calls_ms.append(sum(start.elapsed_time(stop) for start, stop in self._marks))
        self._marks.clear()

    def follow(self, attention: torch.nn.Module) -> None:
        """Take the time of a module whenever it is called."""
        attention.register_forward_pre_hook(lambda *_: self.begin())
        attention.register_forward_hook(lambda *_: self.done())


class Attends(TorchFunctionMode):
    """Has self-attention of one length computed by a kernel, whatever model calls for it.

    Masks are dropped: only padding of the text is masked in these models, and here is none.
    """

    def __init__(self, seq_len: int, run: Run, watch: Watch) -> None:
        super().__init__()
        self.seq_len = seq_len
        self.run = run
        self.watch = watch

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the kernel in place of PyTorch's attention."""
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention:
            return func(*args, **kwargs)
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        q, k, v = given["query"], given["key"], given["value"]
        if {q.shape[2], k.shape[2]} != {self.seq_len}:
            return func(*args, **kwargs)
        self.watch.begin()
        out, _ = self.run(q, k, v)
        self.watch.done()
        return out


def dense_kernels(video: Video, peers: Sequence[str]) -> dict[str, Run]:
    """Plan those of the dense kernels that can run this video, and tell of the others."""
    model, grid = video.preset, video.grid
    spec, config = load_mask(DENSE), KernelConfig()
    table = compile_mask(spec, grid)
    problem = Problem(
        mask_fingerprint=spec.fingerprint,
        grid=grid,
        batch=1,
        heads=model.heads,
        head_dim=model.head_dim,
        dtype="bfloat16",
    )
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
    """Make what a call of a transformer takes, from a seeded normal distribution."""
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
    """Give what a block is called with during a call."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = block.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    try:
        call()
    finally:
        hook.remove()
    return seen[0]


def parts(
    model: str, dense: Any, sparse: Any, given: dict[str, Any], *, step: bool
) -> Iterator[tuple[str, int, Call, Call]]:
    """Give each part with its count, and its call in the dense and in the sparse transformer."""
    # Also readies the sparse attention, which is not part of the time.
    sparse(**given)
    if step:
        yield STEP, 1, partial(dense, **given), partial(sparse, **given)
        return
    for kind, (name, count) in BUILT[model].kinds.items():
        one, other = getattr(dense, name)[0], getattr(sparse, name)[0]
        args, kwargs = captured(one, partial(dense, **given))
        yield kind, count, partial(one, *args, **kwargs), partial(other, *args, **kwargs)


def under(mode: TorchFunctionMode | None, call: Call, watch: Watch) -> Call:
    """Make a call that ends when the GPU is done, with attention by a mode if one is given."""

    def run() -> None:
        with ExitStack() as stack:
            if mode is not None:
                stack.enter_context(mode)
            call()
        torch.cuda.synchronize()
        watch.end()

    return run


def check(call: Call, what: str) -> None:
    """Refuse to time what gives no numbers.

    Raises:
        SystemExit: A result is not finite.
    """
    out = call()
    for tensor in out if isinstance(out, tuple) else (out,):
        if not torch.isfinite(tensor).all():
            raise SystemExit(f"{what}: the result is not finite")


def sampled(calls: dict[str, Call], samples: int, seconds: float) -> dict[str, Measurement]:
    """Time calls in turn; a round of all of them warms up."""
    found = measure_together(
        list(calls.values()),
        target=0.003,
        min_samples=min(6, samples),
        max_samples=samples,
        max_seconds=seconds,
    )
    return dict(zip(calls, found, strict=True))


def measure(video: Video, options: argparse.Namespace) -> Iterator[PartTime]:
    """Time the parts of a video."""
    from radialbench.integrations.diffusers import apply_radial

    command = shlex.join(["python", "-m", "benchmarks.paper_step", *sys.argv[1:]])
    here = environment(command, device="cuda")
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
        for name, timing in sampled(calls, options.samples, options.seconds).items():
            yield PartTime(
                model=video.model,
                size=video.size,
                part=part,
                count=count,
                attention=name,
                mask=variant if name == RADIAL else DENSE,
                timing=timing,
                environment=here,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                # Its last calls are those that were sampled.
                attention_ms=tuple(watches[name].calls_ms[-len(timing.samples_ms) :]),
            )


def name_of(video: Video) -> str:
    """A video on the command line: the model and how many times its length."""
    return f"{video.model}/{video.length}"


def main() -> int:
    """Measure the chosen videos."""
    names = [name_of(video) for video in VIDEOS]
    parser = argparse.ArgumentParser(description="Blocks and steps, radial beside dense.")
    parser.add_argument("-o", "--out", type=Path, help="add lines to this file")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="VIDEO")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=tuple(PEERS), metavar="KERNEL")
    parser.add_argument("--step", action="store_true", help="whole calls, not blocks; 1× fits")
    parser.add_argument("--samples", type=int, default=6, help="rounds after the first (6)")
    parser.add_argument("--seconds", type=float, default=60, help="of a part, for all rounds (60)")
    parser.add_argument("--list", action="store_true", help="name the videos and do nothing")
    options = parser.parse_args()
    if options.list or options.out is None:
        print(*names, sep="\n")
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for video in VIDEOS:
        if name_of(video) not in options.only:
            continue
        with torch.no_grad():
            for one in measure(video, options):
                append(options.out, one)
                print(f"{video.title}, {one.part}, {one.attention}: {one.timing.median_ms:,.1f} ms")
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
