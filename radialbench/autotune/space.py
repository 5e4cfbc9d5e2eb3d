"""Space: the configurations of a kernel. Candidates: those that a problem allows."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from radialbench.errors import AutotuneError, BackendError
from radialbench.kernels.tuned import GRADIENT_SOURCES, not_tuned
from radialbench.records.problem import GradientSteps, KernelConfig, Problem, Steps, plain_config

Value = int | None

REGISTERS = 255
"""Registers per thread at most, on every NVIDIA GPU since 2014."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One field of a configuration and its values.

    Attributes:
        name: The field of `KernelConfig`, as `fields_of` names it.
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
        fields = fields_of(config)
        values = [fields.get(axis.name) for axis in self.axes]
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
        at_end, fields = [], fields_of(config)
        for axis in self.axes:
            value = fields[axis.name]
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
"""The space of each backend that can be tuned: of the forward pass, and for `cpu` of gradients."""

SIZES, WARPS, STAGES = (32, 64, 128), (4, 8), (2, 3, 5)
"""Tokens, warps and stages of the steps of gradients."""


def space_of(backend: str, direction: str, default: KernelConfig) -> Space:
    """Return the space of a backend in a direction.

    That of `triton`'s gradients are steps in the blocks of the default, which is among them. dq is
    computed apart from dk and dv.
    """
    if direction == "forward" or backend != "triton":
        return SPACES[backend]
    blocks, both = (default.block_m, default.block_n), default.gradients
    assert both is not None
    axes = [Axis("block_m", blocks[:1]), Axis("block_n", blocks[1:])]
    for part, steps, (own, step) in (
        ("dq", both.dq, blocks),
        ("dkdv", both.dkdv, blocks[::-1]),
    ):
        for name, values, limits in (
            ("own", SIZES, (own,)),
            ("step", SIZES, (step,)),
            ("num_warps", WARPS, ()),
            ("num_stages", STAGES, ()),
        ):
            most = limits[0] if limits else max(values)
            some = {value for value in values if value <= most} | {getattr(steps, name)}
            ends = tuple(value for value in limits if value in some)
            axes.append(Axis(f"gradients.{part}.{name}", tuple(sorted(some)), ends))
    return Space(tuple(axes))


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


def check_tunable(backend: str) -> None:
    """Refuse a backend that has no configurations to search, and a name that no backend has.

    Raises:
        AutotuneError: It is not in `SPACES`; the message says which of the two.
    """
    from radialbench.kernels.backends import check_backend

    if backend in SPACES:
        return
    try:
        check_backend(backend)
    except BackendError as error:
        raise AutotuneError(f"nothing to tune: {error}") from None
    raise AutotuneError(
        f"nothing to tune: the backend {backend!r} has no configurations to search; "
        f"these have: {', '.join(sorted(SPACES))}"
    )


def nothing_to_tune(backend: str, direction: str) -> str | None:
    """Return why a backend with a space has nothing to tune in a direction; None if it has."""
    if direction == "forward" or backend in GRADIENT_SOURCES:
        return None
    return not_tuned(backend, direction)


def candidates(
    problem: Problem, backend: str, device: str, blocks: tuple[int, int] | None = None
) -> Candidates:
    """Return what may be tried, without compiling or running anything.

    Args:
        problem: The problem.
        backend: The backend.
        device: `cuda` or `cpu`.
        blocks: Blocks of the table, where a search does not choose them; the plain ones of the
            backend if not given.

    Raises:
        AutotuneError: The backend has nothing to tune, or cannot run the problem, or not with its
            default configuration.
    """
    from radialbench.kernels.backends import load_backend

    check_tunable(backend)
    if reason := nothing_to_tune(backend, problem.direction):
        raise AutotuneError(reason)
    if reasons := load_backend(backend).unsupported_reasons(problem, device):
        raise AutotuneError(f"{backend} cannot run what is to be tuned: {'; '.join(reasons)}")
    default = default_config(problem, backend, device, blocks)
    space = space_of(backend, problem.direction, default)
    checked = {one: _rejection(one, problem, backend, device) for one in space.configs()}
    rejected = {config: reason for config, reason in checked.items() if reason is not None}
    feasible = tuple(config for config in checked if config not in rejected)
    return Candidates(space, default, feasible, rejected)


def default_config(
    problem: Problem, backend: str, device: str, blocks: tuple[int, int] | None = None
) -> KernelConfig:
    """Return the untuned configuration of a backend, with every field that it chooses set.

    Arguments as `candidates`.
    """
    from radialbench.kernels.arch import target_of
    from radialbench.kernels.checks import DTYPES
    from radialbench.kernels.select import copy_reasons, default_gradients, portable_options

    if backend == "hopper":
        return KernelConfig(block_n=64 if problem.head_dim > 128 else 128, num_stages=2)
    if backend != "triton":
        return KernelConfig()
    dtype, plain = DTYPES[problem.dtype], plain_config(backend)
    target = target_of(device)
    if problem.direction != "forward":
        own = blocks or (plain.block_m, plain.block_n)
        return default_gradients(dtype, problem.head_dim, own, target)
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
    text = ", ".join(words)
    if config.gradients is not None:
        for part in ("dq", "dkdv"):
            steps = getattr(config.gradients, part)
            text += f"; {part} {steps.own}×{steps.step}, {steps.num_warps} warps"
            text += f", {steps.num_stages} stages"
    return text


def fields_of(config: KernelConfig) -> dict[str, Value]:
    """Return the fields of a configuration by name, those of its parts as `gradients.dq.own`."""
    names = ("block_m", "block_n", "num_warps", "num_stages")
    fields = {name: getattr(config, name) for name in names}
    if config.gradients is not None:
        for part in ("dq", "dkdv"):
            steps = getattr(config.gradients, part)
            fields |= {f"gradients.{part}.{name}": getattr(steps, name) for name in _OF_STEPS}
    return fields


_OF_STEPS = Steps.__match_args__


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
    if backend != "triton":
        return None
    if config.gradients is not None:
        return _gradients_over_limits(config.gradients, problem, device)
    return _over_limits(config, problem, device)


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


def _gradients_over_limits(
    both: GradientSteps, problem: Problem, device: str
) -> tuple[str, str] | None:
    """Reject steps of gradients as `_over_limits` does."""
    from radialbench.kernels.arch import SHARED_LIMITS, target_of
    from radialbench.kernels.select import portable_columns

    arch = target_of(device).arch
    if arch is None:
        return None
    columns = portable_columns(problem.head_dim)
    for name, steps, gradients in (("dq", both.dq, 1), ("dk and dv", both.dkdv, 2)):
        held = steps.own * (gradients * columns + steps.step) // (32 * steps.num_warps)
        if held > REGISTERS:
            return "registers", (
                f"{name} and scores take {held} registers a thread, {REGISTERS} is the most"
            )
        # Two tensors of the other side, and those of the next step if they are loaded ahead.
        tokens = 2 * steps.step * (1 if steps.num_stages == 1 else 2)
        shared = columns * tokens * (4 if problem.dtype == "float32" else 2)
        limit = SHARED_LIMITS.get(arch)
        if limit is not None and shared > limit:
            return "shared memory", (
                f"the steps of {name} take {shared:,} bytes of shared memory, {limit:,} there are"
            )
    return None


def _config(values: dict[str, Value]) -> KernelConfig:
    """Build a configuration of what `fields_of` returns, or some of it."""
    fields: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name.startswith("gradients."):
            _, part, field_name = name.split(".")
            parts.setdefault(part, {})[field_name] = value
        else:
            fields[name] = value
    if parts:
        fields["gradients"] = GradientSteps(**{part: Steps(**of) for part, of in parts.items()})
    return KernelConfig(**fields)
