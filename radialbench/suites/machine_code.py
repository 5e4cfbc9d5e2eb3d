"""What a version's cases come to on this machine's GPU, for another version to compare with.

Run as a file, `python machine_code.py SUITE [ARCH]`, with any version of the package on the path:
that version's own code plans, compiles and counts.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import radialbench
from radialbench.kernels.backend import BACKENDS
from radialbench.kernels.environment import cores
from radialbench.kernels.offline import KERNELS
from radialbench.kernels.sources import SOURCES, code_of
from radialbench.suites.offline import LIMIT_SECONDS, KernelJob, kernel_variants, mask_jobs
from radialbench.suites.plan import Case, plan, tuned
from radialbench.suites.pool import Failed, Job, Pool
from radialbench.suites.read import load_suite

NONE: dict[str, Any] = {"launches": "", "cases": {}}


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

        from radialbench.kernels.tuned import processor

        if not torch.cuda.is_available():
            return NONE
        major, minor = torch.cuda.get_device_capability()
        arch, cases = 10 * major + minor, tuned(cases, processor("cuda"))
    ours = [case for case in cases if case.measure == "attention" and case.backend in KERNELS]
    if not ours:
        return NONE
    jobs = {case.id: _jobs(case, arch) for case in ours}
    found = {}
    with Pool(cores(), limit_s=LIMIT_SECONDS) as pool:
        pool.add(job for every in jobs.values() for job in every)
        for case in ours:
            figures = [pool.result(job) for job in jobs[case.id]]
            if not any(isinstance(one, Failed) for one in figures):
                found[case.id] = _hash(repr((case.problem, case.config, figures)))
    return {"launches": _hash("\n".join(_launching())), "cases": found}


def _jobs(case: Case, arch: int) -> list[Job]:
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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts(sys.argv[1], *map(int, sys.argv[2:]))) + "\n")
