"""`radialbench doctor`: what is installed, what the machine has, what each backend needs."""

import platform
from collections import Counter

from radialbench.commands.console import errors, print_json, print_table
from radialbench.commands.options import Json
from radialbench.commands.progress import watch_work
from radialbench.errors import RecordError

LIBRARIES = ("numpy", "torch", "triton", "pydantic", "pandas", "matplotlib", "optuna")


def doctor(json: Json = False) -> None:
    """Report versions, the machine, what backends need, and whether what is tuned is used."""
    with watch_work(errors, "looking at this machine"):
        facts = _facts()
    if json:
        print_json(facts)
        return
    lines: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [(f"{name} {key}", text) for key, text in value.items()]
        else:
            lines.append((name, ", ".join(value) if isinstance(value, list) else value))
    print_table(("part", "state"), lines, text_columns=("part", "state"), spare=())


def _facts() -> dict[str, str | list[str] | dict[str, str]]:
    from radialbench import __version__
    from radialbench.errors import BackendError
    from radialbench.kernels.arch import cpu_name, versions
    from radialbench.kernels.backends import BACKENDS, added_backends, load_backend
    from radialbench.kernels.measure.environment import gpus, memory_bytes
    from radialbench.machine import cores
    from radialbench.plugins import reason

    needs = {}
    try:
        added = added_backends()
    except BackendError as error:
        needs["of other packages"] = str(error)
        added = {}
    for name in (*BACKENDS, *added):
        try:
            needs[name] = load_backend(name).needs()
        except (BackendError, ImportError) as error:
            needs[name] = str(error) if name in added else f"cannot be imported: {error}"
        except Exception as error:
            if name not in added:
                raise
            needs[name] = f"does not say what it needs: {reason(error)}"
    memory = memory_bytes()
    cards, problem = gpus()
    return {
        "radialbench": __version__,
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "library": dict.fromkeys(LIBRARIES, "not installed") | versions(LIBRARIES),
        "cpu": f"{cpu_name()}, {cores()} cores",
        "memory": f"{memory / 2**30:.1f} GiB" if memory else "unknown",
        "gpu": [*(card.text for card in cards), *([problem] if problem else [])] or ["none found"],
        "backend": needs,
        "tuned": _tuned(),
    }


def _tuned() -> dict[str, str]:
    """Describe the tuned configurations by device, and whether they are of what is here."""
    from radialbench.kernels.tuned import shipped_records, stale_reasons, user_records
    from radialbench.reports.text import join_and

    lines = {}
    try:
        every = (*user_records(), *shipped_records())
    except RecordError as error:
        lines["of your own"], every = str(error), shipped_records()
    for device in sorted({record.key.device for record in every}):
        records = [record for record in every if record.key.device == device]
        backends = join_and(sorted({record.key.backend for record in records}))
        text = f"{len(records)} configuration{'s' * (len(records) > 1)} of {backends}"
        gradients = sum(record.key.direction == "backward" for record in records)
        text += f", {gradients} of them of gradients" if gradients else ""
        stale = Counter(" and ".join(why) for record in records if (why := stale_reasons(record)))
        text += f"; {len(records) - stale.total():,} fresh here"
        if stale:
            counts = "; ".join(f"{count:,} as {reason}" for reason, count in stale.most_common())
            text += f", the others stale and not used ({counts})"
            every_stale = stale.total() == len(records)
            text += ": the default runs; tune again" if every_stale else ""
        lines[device] = text
    return lines
