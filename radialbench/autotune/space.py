"""Space: the configurations of a kernel. Candidates: those that a problem allows."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from radialbench.errors import AutotuneError, unknown
from radialbench.records.problem import KernelConfig, Problem, plain_config

Value = int | None

REGISTERS = 255
"""Registers per thread at most, on every NVIDIA GPU since 2014."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One field of a configuration and its values.

    Attributes:
        name: The field of `KernelConfig`.
        values: Its values in ascending order.
        limits: Values at an end beyond which the kernel has no more.
    """

    name: str
    values: tuple[Value, ...]
    limits: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Space:
    """Every combination of the values of some axes; other fields keep their defaults."""

    axes: tuple[Axis, ...]

    def configs(self) -> Iterator[KernelConfig]:
        """Yield every configuration, the last axis fastest."""
        names = [axis.name for axis in self.axes]
        for values in product(*(axis.values for axis in self.axes)):
            yield _config(dict(zip(names, values, strict=True)))

    def place(self, config: KernelConfig) -> tuple[int, ...] | None:
        """Return the place of a configuration on each axis; None if it is not in the space."""
        values = [getattr(config, axis.name) for axis in self.axes]
        if any(v not in axis.values for v, axis in zip(values, self.axes, strict=True)):
            return None
        place = tuple(axis.values.index(v) for v, axis in zip(values, self.axes, strict=True))
        return place if self.at(place) == config else None

    def at(self, place: Iterable[int]) -> KernelConfig:
        """Return the configuration at a place."""
        values = {axis.name: axis.values[i] for axis, i in zip(self.axes, place, strict=True)}
        return _config(values)

    def edges(self, config: KernelConfig) -> tuple[str, ...]:
        """Return the axes on which a configuration is at an end that is no limit of the kernel."""
        at_end = []
        for axis in self.axes:
            value = getattr(config, axis.name)
            if len(axis.values) > 2 and value in (axis.values[0], axis.values[-1]):
                at_end += [axis.name] if value not in axis.limits else []
        return tuple(at_end)


SPACES: dict[str, Space] = {
    "cpu": Space(
        (Axis("block_m", (32, 64, 128, 256, 512)), Axis("block_n", (32, 64, 128, 256, 512)))
    ),
    "hopper": Space((Axis("block_n", (64, 128)), Axis("num_stages", (2, 3, 4, 5, 6), limits=(2,)))),
    "triton": Space(
        (
            Axis("block_m", (16, 32, 64, 128, 256), limits=(16, 256)),
            Axis("block_n", (16, 32, 64, 128), limits=(16, 128)),
            Axis("num_warps", (2, 4, 8)),
            # Four stages are compiled to the code of three.
            Axis("num_stages", (1, 2, 3, 5), limits=(1,)),
        )
    ),
}
"""The space of each backend that can be tuned."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The configurations that may be tried for a problem.

    Attributes:
        space: Their space.
        default: The untuned configuration, with every field set; it is feasible.
        feasible: In the order of the space.
        rejected: The others, each with the kind of the reason, in a word or two, and the reason.
    """

    space: Space
    default: KernelConfig
    feasible: tuple[KernelConfig, ...]
    rejected: dict[KernelConfig, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.default not in self.feasible:
            _, reason = self.rejected.get(self.default, ("", f"got {self.default}"))
            raise AutotuneError(
                f"nothing to compare with: the default configuration cannot run, {reason}"
            )

    @property
    def rejections(self) -> dict[str, int]:
        """Number of rejected configurations, by kind."""
        return dict(Counter(kind for kind, _ in self.rejected.values()))


def candidates(problem: Problem, backend: str, device: str) -> Candidates:
    """Return what may be tried, without compiling or running anything.

    Args:
        problem: The problem.
        backend: The backend.
        device: `cuda` or `cpu`.

    Raises:
        AutotuneError: The backend has nothing to tune, or cannot run the problem, or not with its
            default configuration.
    """
    from radialbench.kernels.backends import load_backend

    if backend not in SPACES:
        raise AutotuneError(f"nothing to tune: {unknown('backend', backend, SPACES)}")
    if reasons := load_backend(backend).unsupported_reasons(problem, device):
        raise AutotuneError(f"{backend} cannot run what is to be tuned: {'; '.join(reasons)}")
    space = SPACES[backend]
    checked = {one: _rejection(one, problem, backend, device) for one in space.configs()}
    rejected = {config: reason for config, reason in checked.items() if reason is not None}
    feasible = tuple(config for config in checked if config not in rejected)
    return Candidates(space, default_config(problem, backend, device), feasible, rejected)


def default_config(problem: Problem, backend: str, device: str) -> KernelConfig:
    """Return the untuned configuration of a backend, with every field that it chooses set."""
    from radialbench.kernels.arch import target_of
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.select import copy_reasons, portable_options

    if backend == "hopper":
        return KernelConfig(block_n=64 if problem.head_dim > 128 else 128, num_stages=2)
    if backend != "triton":
        return KernelConfig()
    dtype, plain = DTYPES[problem.dtype], plain_config(backend)
    target = target_of(device)
    copies = not copy_reasons(dtype, problem.head_dim, target)
    options = portable_options(
        plain, dtype, problem.head_dim, copies=copies, shared=target.shared_bytes
    )
    return replace(plain, **options)


def format_config(config: KernelConfig) -> str:
    """Format a configuration in a few words, without fields that it leaves open."""
    words = [f"{config.block_m}×{config.block_n}"]
    for count, name in ((config.num_warps, "warp"), (config.num_stages, "stage")):
        words += [f"{count} {name}{'s' * (count > 1)}"] if count else []
    return ", ".join(words)


def _rejection(
    config: KernelConfig, problem: Problem, backend: str, device: str
) -> tuple[str, str] | None:
    """Return the kind and the reason of a configuration's rejection; None if it is feasible."""
    if backend == "cpu":
        return None
    from radialbench.kernels.arch import target_of
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.select import config_reasons, kernel_reasons

    dtype, head_dim = DTYPES[problem.dtype], problem.head_dim
    blocks = (config.block_m, config.block_n)
    if reasons := kernel_reasons(backend, dtype, head_dim, blocks, target_of(device)):
        return "blocks", "; ".join(reasons)
    if reasons := config_reasons(backend, config, head_dim):
        return "shared memory", "; ".join(reasons)
    if backend == "triton":
        return _over_limits(config, problem, device)
    return None


def _over_limits(config: KernelConfig, problem: Problem, device: str) -> tuple[str, str] | None:
    """Reject a configuration of the portable kernel by lower bounds of its registers and memory.

    A configuration that passes may still take too much, which shows when it is compiled.
    """
    from radialbench.kernels.arch import SHARED_LIMITS, target_of
    from radialbench.kernels.select import portable_columns

    arch = target_of(device).arch
    if arch is None:
        return None
    columns, warps = portable_columns(problem.head_dim), config.num_warps or 4
    # The output and the scores of a step, in 32 bits, are there at once.
    registers = config.block_m * (columns + config.block_n) // (32 * warps)
    if registers > REGISTERS:
        return "registers", (
            f"output and scores take {registers} registers a thread, {REGISTERS} is the most"
        )
    # Queries, and keys and values of a step, or one of them if nothing is loaded ahead.
    keys = config.block_n * (1 if config.num_stages == 1 else 2)
    shared = columns * (config.block_m + keys) * (4 if problem.dtype == "float32" else 2)
    limit = SHARED_LIMITS.get(arch)
    if limit is not None and shared > limit:
        return "shared memory", (
            f"queries, keys and values take {shared:,} bytes of shared memory, {limit:,} there are"
        )
    return None


def _config(values: dict[str, Value]) -> KernelConfig:
    return replace(KernelConfig(), **values)  # type: ignore[arg-type]
