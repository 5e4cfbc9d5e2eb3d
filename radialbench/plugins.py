"""Plug-ins of other packages: what their entry points add to our tables, and `module:Class`.

A package adds a backend and a mask in its pyproject.toml, and needs nothing else:

    [project.entry-points."radialbench.backends"]
    my_kernel = "my_package.kernel:MyKernel"

    [project.entry-points."radialbench.masks"]
    my_mask = "my_package.masks:MY_MASK"

Python finds them as it finds any module: no file of a suite, a mask or results has code, and the
folder it lies in is not searched.
"""

from collections.abc import Container
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from radialbench.errors import RadialBenchError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUPS = {"backend": "radialbench.backends", "mask": "radialbench.masks"}
"""The group of entry points of each kind of plug-in."""


@cache
def _installed(kind: str) -> "tuple[EntryPoint, ...]":
    # Imported here: most commands ask for nothing that others add.
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUPS[kind]))


def package_of(entry: "EntryPoint") -> str:
    """Return the name and version of the package of an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package"


def path_of(entry: "EntryPoint") -> str:
    """Return the `module:attribute` of an entry point, without its extras."""
    return "".join(entry.value.partition("[")[0].split())


def added(kind: str, own: Container[str], error: type[RadialBenchError]) -> "dict[str, EntryPoint]":
    """Return what installed packages add, by name.

    Args:
        kind: `backend` or `mask`.
        own: Names that radialbench has.
        error: Raised if a name is not free.
    """
    found: dict[str, EntryPoint] = {}
    for entry in _installed(kind):
        other = package_of(found[entry.name]) if entry.name in found else ""
        taken = "radialbench" if entry.name in own else other
        if taken and entry.value != getattr(found.get(entry.name), "value", None):
            raise error(
                f"{package_of(entry)} adds a {kind} {entry.name!r}, a name that {taken} has; "
                f"rename it among its entry points ({GROUPS[kind]}), or uninstall the package"
            )
        found[entry.name] = entry
    return found


def is_path(name: str) -> bool:
    """Return whether a name is `module:attribute`."""
    module, _, attribute = name.partition(":")
    return attribute.isidentifier() and all(map(str.isidentifier, module.split(".")))


def load(kind: str, name: str, path: str, error: type[RadialBenchError]) -> Any:
    """Import a plug-in of another package.

    Args:
        kind: `backend` or `mask`.
        name: What it is asked for as.
        path: Its `module:attribute`.
        error: Raised if it cannot be imported; the message says why in one line.
    """
    module, _, attribute = path.partition(":")
    if not (module and attribute):
        raise error(f"the {kind} {name!r} has the entry point {path!r}, which is no module:name")
    try:
        found = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except RadialBenchError:
        raise
    # Whatever the code of another does when it is imported; some scripts exit.
    except (Exception, SystemExit) as fault:
        hint = (
            f"; is {module.split('.')[0]} installed, or on PYTHONPATH?"
            if isinstance(fault, ModuleNotFoundError)
            else ""
        )
        raise error(f"the {kind} {name!r} cannot be imported: {reason(fault)}{hint}") from None
    return found


def reason(fault: BaseException) -> str:
    """Return what the code of another raised, in one line."""
    return f"{type(fault).__name__}: {' '.join(str(fault).split()) or 'without a message'}"


def plugin_versions() -> dict[str, str]:
    """Return the versions of the packages that add something, by their names."""
    entries = (entry for kind in GROUPS for entry in _installed(kind))
    return {entry.dist.name: entry.dist.version for entry in entries if entry.dist}
