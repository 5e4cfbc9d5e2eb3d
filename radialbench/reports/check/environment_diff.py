"""Whether two runs may be compared at all, and what else differs between them."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

from radialbench.errors import ReportError
from radialbench.records.problem import Problem
from radialbench.records.result import Environment, Record
from radialbench.reports.text import join_and, printable

PROCESSOR = ("cpu", "cores", "threads")
SYSTEM = ("os", "python", "clocks")
OURS = "radialbench"


def environment_diff(
    pairs: Iterable[tuple[Record, Record]], *, across_versions: bool = False
) -> tuple[str, ...]:
    """Describe what differs between the environments of pairs of records: before, and now.

    Our own version and commit may differ: that is what a check is for. So may the GPU, if it is of
    the same kind.

    Raises:
        ReportError: Device or processor differ, or libraries and system do and may not.
    """
    places = {
        (old.environment, new.environment): None for old, new in pairs
    }  # Equal environments once, in order.
    apart: dict[str, None] = {}
    versions: dict[str, None] = {}
    ours: dict[str, None] = {}
    for there, here in places:
        apart |= dict.fromkeys(_fields(there, here, _hard(there)))
        soft = [name for name in (*SYSTEM, *PROCESSOR) if name not in _hard(there)]
        versions |= dict.fromkeys([*_fields(there, here, soft), *_versions(there, here)])
        ours |= dict.fromkeys([*_versions(there, here, ours=True), *_commits(there, here)])
        ours |= dict.fromkeys(_cards(there, here))
    if apart:
        raise ReportError(
            f"the baseline is of another machine ({printable('; '.join(apart))}), and times of two "
            "machines are not compared. Measure a baseline on this one"
        )
    if versions and not across_versions:
        raise ReportError(
            f"the baseline is of another environment ({printable('; '.join(versions))}). "
            "Measure it again in this one, or compare them as they are with --across-versions"
        )
    return tuple(map(printable, (*versions, *ours)))


def why_unlike(old: Record, new: Record) -> str:
    """Return why two records of a case are not compared; empty if they are."""
    # 1/√head_dim, given or not, is the same scale.
    names = ["scale" if each.name == "sm_scale" else each.name for each in fields(Problem)]
    one, other = old.problem, new.problem
    changed = [name for name in names if getattr(one, name) != getattr(other, name)]
    if changed:
        return f"another problem than in the baseline: its {join_and(changed)} changed"
    if old.measure == "compile" and _fields(old.environment, new.environment, PROCESSOR):
        return "tables were compiled on another processor"
    if old.timing and new.timing and (told := old.timing.unlike(new.timing)):
        return f"measured differently ({printable('; '.join(told))})"
    return ""


def config_diffs(pairs: Iterable[tuple[Record, Record]]) -> dict[str, tuple[str, ...]]:
    """Return the cases whose kernel's configuration differs, by how: `block_n: 128 and 64`."""
    found: dict[str, tuple[str, ...]] = {}
    for old, new in pairs:
        names = [each.name for each in fields(old.config)]
        if words := printable(", ".join(_fields(old.config, new.config, names))):
            found[words] = (*found.get(words, ()), new.case)
    return found


def _hard(environment: Environment) -> Sequence[str]:
    """What may never differ. A GPU's times do not hang on the processor beside it."""
    return ("device", *PROCESSOR) if environment.device == "cpu" else ("device",)


def _fields(there: object, here: object, names: Iterable[str]) -> list[str]:
    return [
        f"{name}: {getattr(there, name)} and {getattr(here, name)}"
        for name in names
        if getattr(there, name) != getattr(here, name)
    ]


def _cards(there: Environment, here: Environment) -> list[str]:
    if None in (there.card, here.card) or there.card == here.card:
        return []
    return [
        f"card: {there.card} and {here.card}, two GPUs of one kind, whose times may be 1% apart: "
        "see --noise-floor"
    ]


def _versions(there: Environment, here: Environment, *, ours: bool = False) -> list[str]:
    found = []
    for name in sorted({*there.versions, *here.versions}):
        was, now = there.versions.get(name, "none"), here.versions.get(name, "none")
        if was != now and (name == OURS) == ours:
            found.append(f"{name}: {was} and {now}")
    return found


def _commits(there: Environment, here: Environment) -> list[str]:
    if there.commit == here.commit:
        return []
    return [f"commit: {there.commit} and {here.commit}"]
