"""A case sampled in turn with itself: what two equal things seem to differ by is the noise."""

from dataclasses import dataclass

from radialbench.kernels.device import find_device
from radialbench.maskgen.grid import TokenGrid
from radialbench.maskgen.library import load_mask
from radialbench.records.measurement import Measurement
from radialbench.records.problem import KernelConfig, Problem
from radialbench.suites.common import Common
from radialbench.suites.plan import Case
from radialbench.suites.spec import Protocol
from radialbench.suites.tables import Tables
from radialbench.suites.together import attempt_together

PROTOCOL = Protocol(
    target=0.0, min_samples=20, max_samples=200, max_seconds=6.0, warmups=3, interleave=True
)
"""As many samples as there is time for: the noise is what is asked, not when to stop."""

SHAPES: dict[str, dict[str, tuple[TokenGrid, int]]] = {
    "cpu": {"short": (TokenGrid(2, 16, 16), 1), "long": (TokenGrid(3, 30, 52), 1)},
    "cuda": {"short": (TokenGrid(4, 32, 32), 4), "long": (TokenGrid(21, 30, 52), 12)},
}
"""Grids and heads: a launch well under a millisecond on a large GPU, and one of several."""

BACKENDS = {"cpu": "cpu", "cuda": "triton"}
DTYPES = {"cpu": "float32", "cuda": "bfloat16"}


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A case measured beside itself.

    Attributes:
        name: `short` or `long`.
        case: What was measured.
        pair: Its two measurements, sample by sample in turn; None if it could not be measured.
        reason: Why not.
    """

    name: str
    case: Case
    pair: tuple[Measurement, Measurement] | None
    reason: str | None


def self_test(device: str = "auto", protocol: Protocol = PROTOCOL) -> tuple[SelfTest, ...]:
    """Measure a short and a long case against themselves, as cases of one group are measured.

    Args:
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        protocol: How they are sampled.

    Raises:
        BackendError: The machine has no such device.
    """
    device = find_device(device)
    tables, common = Tables(), Common()
    found = []
    for name, (grid, heads) in SHAPES[device].items():
        case = _case(name, grid, heads, device=device, protocol=protocol)
        one, two = attempt_together([case, case], tables, common, lambda case: None)
        pair = (one.timing, two.timing) if one.timing and two.timing else None
        found.append(SelfTest(name, case, pair, one.reason or two.reason))
    return tuple(found)


def _case(name: str, grid: TokenGrid, heads: int, *, device: str, protocol: Protocol) -> Case:
    mask = load_mask("radial")
    problem = Problem(
        mask_fingerprint=mask.fingerprint,
        grid=grid,
        batch=1,
        heads=heads,
        head_dim=128,
        dtype=DTYPES[device],
    )
    return Case(
        id=name,
        measure="attention",
        identity=mask.identity,
        mask=mask,
        model=None,
        problem=problem,
        backend=BACKENDS[device],
        config=KernelConfig(),
        config_source="default",
        device=device,
        protocol=protocol,
    )
