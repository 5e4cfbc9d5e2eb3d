"""Made-up records in the shape of a sweep over frames, for reports to be tested on."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.identity import MaskIdentity
from radialbench.records.fidelity import (
    DEFINITION,
    Fidelity,
    HeadFidelity,
    InputsIdentity,
    Kept,
)
from radialbench.records.measurement import Measurement, Telemetry
from radialbench.records.problem import KernelConfig, Problem, group_id
from radialbench.records.result import Record, Status, TableStats
from tests.records.sample import ENVIRONMENT, RECORD

FRAME_TOKENS = 1560
HEAD_DIM = 128


def made(
    mask: str = "radial",
    frames: int = 3,
    *,
    samples: Sequence[float] = (2.0,),
    backend: str | None = "cpu",
    share: float = 0.5,
    order: float = 0.0,
    **changes: Any,
) -> Record:
    """A case that went well.

    Args:
        mask: Its label; `dense` is dense.
        frames: Latent frames of 30×52 tokens.
        samples: Times of the calls, in milliseconds; none for a case that failed.
        backend: None for a case that compiles.
        share: Share of the pairs that attend.
        order: Time of the token order.
        **changes: Other fields of the record.
    """
    grid, tokens = TokenGrid(frames, 30, 52), frames * FRAME_TOKENS
    problem = Problem(f"of {mask}", grid, 1, 1, HEAD_DIM, "float32")
    record = replace(
        RECORD,
        case=f"{mask}/{group_id(problem, None)}/{backend or 'compile'}",
        measure="attention" if backend else "compile",
        mask=MaskIdentity(mask, f"of {mask}", dense=mask == "dense"),
        model=None,
        problem=problem,
        backend=backend,
        config=KernelConfig(),
        config_source="default",
        table=table(tokens, share),
        accuracy=RECORD.accuracy if backend else None,
        timing=Measurement(tuple(samples), 1, "warm", "perf_counter", None),
        permute_ms=order if backend else None,
        plan_ms=0.25 if backend else None,
        environment=ENVIRONMENT,
    )
    return replace(record, **changes)


def ended(status: Status, reason: str, record: Record) -> Record:
    """The same case, ended in another way."""
    return replace(record, status=status, reason=reason, timing=None, accuracy=None, memory=None)


def table(tokens: int, share: float) -> TableStats:
    """A table of a share of the pairs, whose blocks execute half as much again."""
    pairs = round(tokens**2 * share)
    blocks = (tokens // 128 + 1) ** 2
    return TableStats(
        pairs=pairs,
        density=pairs / tokens**2,
        block_density=min(1.5 * share, 1.0),
        full=round(blocks * share),
        partial=round(blocks * min(share, 1 - share) / 2),
        bitmaps=8,
        nbytes=round(8 * blocks * share) + 1,
        flops=4 * HEAD_DIM * pairs,
        executed_flops=round(4 * HEAD_DIM * tokens**2 * min(1.5 * share, 1.0)),
        compile_ms=0.001 * tokens,
    )


def swept(
    mask: str, shares: dict[int, float], *, rate: float = 50.0, **changes: Any
) -> list[Record]:
    """A sweep whose latency is the executed work at a rate in GFLOP/s, a little spread."""
    records = []
    for frames, share in shares.items():
        middle = table(frames * FRAME_TOKENS, share).executed_flops / rate / 1e6
        samples = tuple(middle * factor for factor in (0.99, 1.0, 1.02))
        records.append(made(mask, frames, samples=samples, share=share, **changes))
    return records


def elsewhere(records: Iterable[Record], **changes: Any) -> list[Record]:
    """The same records, from another environment."""
    return [replace(r, environment=replace(r.environment, **changes)) for r in records]


def on_gpu(records: Iterable[Record], *, ceiling_ms: float = 1.4) -> list[Record]:
    """The same records as if measured on a GPU: in turn with a matmul, with counters."""
    found = []
    for record in records:
        assert record.timing is not None
        count = len(record.timing.samples_ms)
        seconds = 10 * record.timing.median_ms / 1e3
        found.append(
            replace(
                record,
                ceiling=replace(record.timing, samples_ms=(ceiling_ms,) * count),
                isolated=replace(record.timing, samples_ms=(record.timing.median_ms * 1.1,)),
                telemetry=Telemetry(
                    *(10, seconds, 400 * seconds / 10, 400.0, 1500.0, 2619.0, 61.0),
                    slowed_by=("power cap",),
                ),
            )
        )
    return found


def many(count: int) -> list[Record]:
    """A large run on a GPU: ten masks on ten kernels at ten lengths, in several sweeps."""
    found: list[Record] = []
    for place in range(-(-count // 1000)):
        for frames in (5, 9, 17, 33, 49, 65, 81, 97, 129, 257):
            for number in range(100):
                mask, kernel = divmod(number, 10)
                share = mask / 10 / frames**0.5 if mask else 1.0
                base = frames**2 * share * (1 + kernel / 10)
                record = made(
                    f"mask{mask}" if mask else "dense",
                    frames,
                    samples=[base * (1 + (7 * call + number) % 11 / 500) for call in range(30)],
                    backend=f"kernel{kernel}",
                    share=share,
                )
                case = f"{place}/{record.case}"
                found.append(replace(record, case=case, model=f"model{place}"))
    return on_gpu(found[:count])


def kept(
    mass: float,
    error: float = 0.1,
    *,
    best: float = 0.95,
    random: float = 0.3,
    heads: int = 8,
    digest: str = "aa",
    kind: str = "captured",
) -> Fidelity:
    """What a mask keeps, a little different from head to head."""
    steps = [(place - (heads - 1) / 2) / heads for place in range(heads)]
    return Fidelity(
        inputs=InputsIdentity("a model", kind, digest),
        rows=256,
        sampled_rows=256,
        bound=0.9,
        method=DEFINITION,
        kernel_error=None,
        heads=tuple(
            HeadFidelity(
                head=place,
                layer=0,
                step=None,
                sequence=0,
                kept=(own := Kept(min(mass + 0.02 * step, 1.0), max(error + 0.02 * step, 0.0))),
                cosine=0.99,
                worst_mass=own.mass / 2,
                worst_error=2 * own.error,
                below=0.25,
                sampled=own,
                best=Kept(best, 0.05),
                window=Kept((best + random) / 2, 0.3),
                random=Kept(random, 0.8),
            )
            for place, step in enumerate(steps)
        ),
    )
