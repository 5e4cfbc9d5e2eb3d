"""What a version's cases come to on this machine's GPU, and which are the same in several.

`python -m radialbench.suites.versus.machine_code SUITE [ARCH]` prints the facts of the version that
runs: its own code plans, compiles and counts. Other versions ask for them under this name.
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
from radialbench.kernels.measure.environment import cores
from radialbench.kernels.triton.compile import KERNELS
from radialbench.kernels.tuned import SOURCES, code_of
from radialbench.suites.offline import LIMIT_SECONDS, KernelJob, kernel_variants, mask_jobs
from radialbench.suites.plan import Case, plan, tuned
from radialbench.suites.pool import Failed, JobPool, PoolJob
from radialbench.suites.read import load_suite
from radialbench.suites.versus.versions import Version

MODULE = "radialbench.suites.versus.machine_code"
"""What a version is asked by, whichever the one that asks: a move of this file is a break."""

NONE: dict[str, Any] = {"launches": "", "cases": {}}


class FactsError(SuiteError):
    """A version that cannot say what its cases come to."""


def unchanged(
    suite: Path, versions: Iterable[Version], *, arch: int | None = None
) -> frozenset[str]:
    """Return the ids of cases of our kernels that are the same in all versions but for names.

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


def facts(suite: str, arch: int | None = None) -> dict[str, Any]:
    """Describe the cases of a suite that our kernels run.

    Args:
        suite: The suite's file.
        arch: Compute capability times ten, for the default configurations; that of this machine's
            GPU, and what was tuned for it, if not given.

    Returns:
        `launches`, a hash of the code around the kernels, and `cases`: by id, a hash of all that
        decides what the GPU does otherwise. Without a GPU, and without what can be compiled, none.
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
    jobs = {case.id: _jobs(case, arch) for case in ours}
    found = {}
    with JobPool(cores(), limit_s=LIMIT_SECONDS) as pool:
        pool.add(job for every in jobs.values() for job in every)
        for case in ours:
            figures = [pool.result(job) for job in jobs[case.id]]
            if not any(isinstance(one, Failed) for one in figures):
                found[case.id] = _hash(repr((case.problem, case.config, figures)))
    return {"launches": _hash("\n".join(_launching())), "cases": found}


def _jobs(case: Case, arch: int) -> list[PoolJob]:
    return [*map(KernelJob, kernel_variants([case], (arch,))), *mask_jobs([case])]


def _launching() -> Iterator[str]:
    """Yield the code of all that prepares, launches and times a kernel, but not the kernels."""
    folder = Path(radialbench.__file__).parent / "kernels"
    compiled = {folder / name for kernel in KERNELS for name in SOURCES[kernel]}
    files = {name: _file(entry) for name, entry in BACKENDS.items()}
    others = set(files.values()) - {files[kernel] for kernel in KERNELS}
    for path in sorted({*folder.rglob("*.py")} - compiled - others):
        yield str(path.relative_to(folder))
        yield from code_of(path)


def _file(entry: str) -> Path:
    module = entry.partition(":")[0].removeprefix("radialbench.")
    return Path(radialbench.__file__).parent / f"{module.replace('.', '/')}.py"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _facts(suite: Path, version: Version, arch: int | None) -> dict[str, Any]:
    code, out, told = version.run(["-m", MODULE, suite, *([] if arch is None else [str(arch)])])
    if code:
        lines = told.strip().splitlines() or [f"it exits with {code} and says nothing"]
        raise FactsError(f"{version.name} does not tell its machine code: {lines[-1]}")
    facts: dict[str, Any] = json.loads(out.splitlines()[-1])
    return facts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts(sys.argv[1], *map(int, sys.argv[2:]))) + "\n")
