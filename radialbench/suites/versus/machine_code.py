"""Find the cases whose machine code is the same in several versions, which need no timing.

`python -m radialbench.suites.versus.machine_code SUITE [ARCH]` prints the facts of the version that
runs, by its own plan, compiler and tables. Other versions run it by this name.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import radialbench
from radialbench.errors import SuiteError
from radialbench.kernels.backends import BACKENDS
from radialbench.kernels.triton.compile import KERNELS
from radialbench.kernels.tuned import SOURCES, code_of
from radialbench.machine import cores
from radialbench.suites.offline import LIMIT_SECONDS, KernelJob, kernel_variants, mask_jobs
from radialbench.suites.plan import plan, tuned
from radialbench.suites.pool import Failed, JobPool, PoolJob
from radialbench.suites.read import load_suite
from radialbench.suites.versus import Version, last_line

MODULE = "radialbench.suites.versus.machine_code"
"""The name by which every version runs it: a move of this file is a breaking change."""

NONE: dict[str, Any] = {"launches": "", "cases": {}}


class FactsError(SuiteError):
    """A version that cannot report its machine code."""


def unchanged(
    suite: Path, versions: Iterable[Version], *, arch: int | None = None
) -> frozenset[str]:
    """Return the ids of cases of our kernels that are the same in all versions but for names.

    The same are: the problem, the configuration, every figure of the kernel for the GPU, with the
    hashes of machine code and program, every figure of the mask's table, and the code of all other
    Python files that prepare, launch and time kernels. Kernels are compiled for general arguments:
    a launch may compile a variant of its own, such as for a single head.

    The architecture is a compute capability times ten, or that of this machine's GPU.

    Raises:
        FactsError: A version cannot report it, such as one older than the hash of machine code.
    """
    of_versions = [_facts(suite, version, arch) for version in versions]
    if len({facts["launches"] for facts in of_versions}) > 1:
        return frozenset()
    every = [set(facts["cases"].items()) for facts in of_versions]
    return frozenset(case for case, _ in set.intersection(*every))


def facts(suite: str, arch: int | None = None) -> dict[str, Any]:
    """Describe the cases of a suite that our kernels run.

    Without an architecture it is that of this machine's GPU, with its tuned configurations.

    Returns:
        `launches`, a hash of the code around the kernels, and `cases`: by id, a hash of the rest
        that decides what the GPU does. No cases without a GPU, or without kernels to compile.
    """
    cases = plan(load_suite(suite))
    if arch is None:
        import torch

        from radialbench.kernels.tuned import device_name

        if not torch.cuda.is_available():
            return NONE
        major, minor = torch.cuda.get_device_capability()
        arch, cases = 10 * major + minor, tuned(cases, device_name("cuda"))
    ours = [case for case in cases if case.measure == "attention" and case.backend in KERNELS]
    if not ours:
        return NONE
    jobs: dict[str, list[PoolJob]] = {
        case.id: [*map(KernelJob, kernel_variants([case], (arch,))), *mask_jobs([case])]
        for case in ours
    }
    hashes = {}
    with JobPool(cores(), limit_s=LIMIT_SECONDS) as pool:
        pool.add(job for every in jobs.values() for job in every)
        for case in ours:
            figures = [pool.result(job) for job in jobs[case.id]]
            if not any(isinstance(one, Failed) for one in figures):
                hashes[case.id] = _hash(repr((case.problem, case.config, figures)))
    return {"launches": _hash("\n".join(_launch_code())), "cases": hashes}


def _launch_code() -> Iterator[str]:
    """Yield the code that prepares, launches and times kernels, without the kernels."""
    package = Path(radialbench.__file__).parent
    folder = package / "kernels"
    compiled = {folder / name for kernel in KERNELS for name in SOURCES[kernel]}
    modules = {name: entry.partition(":")[0].split(".")[1:] for name, entry in BACKENDS.items()}
    files = {name: package.joinpath(*parts).with_suffix(".py") for name, parts in modules.items()}
    others = set(files.values()) - {files[kernel] for kernel in KERNELS}
    for path in sorted({*folder.rglob("*.py")} - compiled - others):
        yield str(path.relative_to(folder))
        yield from code_of(path)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _facts(suite: Path, version: Version, arch: int | None) -> dict[str, Any]:
    code, out, errors = version.run(["-m", MODULE, suite, *([] if arch is None else [str(arch)])])
    if code:
        raise FactsError(
            f"{version.name} does not report its machine code: {last_line(errors, code)}"
        )
    facts: dict[str, Any] = json.loads(out.splitlines()[-1])
    return facts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts(sys.argv[1], *map(int, sys.argv[2:]))) + "\n")
