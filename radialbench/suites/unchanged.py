"""Cases that two versions compile to the same: nothing on the GPU can have become slower."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from radialbench.errors import SuiteError
from radialbench.suites.versions import Version

SCRIPT = Path(__file__).with_name("machine_code.py")


class FactsError(SuiteError):
    """A version that cannot say what its cases come to."""


def unchanged(
    suite: Path, versions: Iterable[Version], *, arch: int | None = None
) -> frozenset[str]:
    """Give the ids of cases of our kernels that are the same in all versions, but for their names.

    Same are: the problem, the configuration, every figure of the kernel for the GPU (the hashes of
    machine code and program among them) and of the mask's table, and the code of all other Python
    files that prepare, launch and time kernels. Arguments are general ones: a launch may compile a
    form of its own, such as for a single head.

    Args:
        suite: The suite's file.
        versions: The versions.
        arch: Compute capability times ten, instead of that of this machine's GPU.

    Raises:
        FactsError: A version cannot say, such as one before there was a hash of machine code.
    """
    found = [_facts(suite, version, arch) for version in versions]
    if len({facts["launches"] for facts in found}) > 1:
        return frozenset()
    every = [set(facts["cases"].items()) for facts in found]
    return frozenset(case for case, _ in set.intersection(*every))


def _facts(suite: Path, version: Version, arch: int | None) -> dict[str, Any]:
    code, out, told = version.run([SCRIPT, suite, *([] if arch is None else [str(arch)])])
    if code:
        lines = told.strip().splitlines() or [f"it exits with {code} and says nothing"]
        raise FactsError(f"{version.name} does not tell its machine code: {lines[-1]}")
    facts: dict[str, Any] = json.loads(out.splitlines()[-1])
    return facts
