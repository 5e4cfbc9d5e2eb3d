"""`radialbench doctor`: what is installed, what the machine has, what each backend needs."""

import platform

from radialbench.commands.console import print_json, say
from radialbench.commands.options import Json

LIBRARIES = ("numpy", "torch", "triton", "pydantic", "pandas", "matplotlib", "optuna")


def doctor(json: Json = False) -> None:
    """Report versions, processor, memory, GPUs, and what each backend needs."""
    facts = _facts()
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            lines = {f"{name} {key}": text for key, text in value.items()}
        else:
            lines = {name: ", ".join(value) if isinstance(value, list) else value}
        for title, text in lines.items():
            say(f"{title:<18} {text}")


def _facts() -> dict[str, str | list[str] | dict[str, str]]:
    from radialbench import __version__
    from radialbench.kernels.arch import cpu_name, versions
    from radialbench.kernels.backends import BACKENDS, load_backend
    from radialbench.kernels.measure.environment import cores, gpus, memory_bytes

    needs = {}
    for name in BACKENDS:
        try:
            needs[name] = load_backend(name).needs()
        except ImportError as error:
            needs[name] = f"cannot be imported: {error}"
    memory = memory_bytes()
    cards, problem = gpus()
    return {
        "radialbench": __version__,
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "library": dict.fromkeys(LIBRARIES, "not installed") | versions(LIBRARIES),
        "cpu": f"{cpu_name()}, {cores()} cores",
        "memory": f"{memory / 2**30:.1f} GiB" if memory else "unknown",
        "gpu": [card.text for card in cards] or [problem or "none found"],
        "backend": needs,
    }
