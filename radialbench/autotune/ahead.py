"""What a trial needs before a GPU gets to it, done by a child process of a `Pool`."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from radialbench.autotune.evaluator import Task
from radialbench.records.problem import KernelConfig

if TYPE_CHECKING:
    from radialbench.kernels.precompile import Built


@dataclass(frozen=True, slots=True)
class Load:
    """Import what compiling takes, PyTorch above all, before there is something to compile.

    Attributes:
        child: Each child has one of its own: equal jobs are done once.
    """

    child: int

    def run(self) -> None:
        """Do it."""
        import_module("radialbench.kernels.precompile")
        import_module("radialbench.kernels._block_sparse_fwd")


@dataclass(frozen=True, slots=True)
class Ahead:
    """Compile the block table and the kernel of a configuration.

    Attributes:
        task: What is tuned.
        config: The configuration.
        arch: Compute capability of the GPU, times ten.
        folder: Where the table goes; the kernel goes to Triton's cache.
    """

    task: Task
    config: KernelConfig
    arch: int
    folder: Path

    def run(self) -> "Built":
        """Do it.

        Raises:
            SpecError: The mask does not fit the grid.
            BackendError: The kernel cannot be compiled.
        """
        from radialbench.kernels.precompile import precompile
        from radialbench.suites.resources import shared_table

        task = self.task
        table = shared_table(self.folder, task.mask, task.grid, self.config)
        return precompile(task.backend, task.problem, table, self.config, arch=self.arch)
