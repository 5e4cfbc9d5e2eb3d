"""Sparse attention masks for video diffusion: state, compile, measure, report.

    from radialbench import TokenGrid, compile_mask, load_mask

    grid = TokenGrid.for_model("wan2.1-14b", "1280x720x81")
    table = compile_mask(load_mask("radial"), grid)
    print(table.density)

Importing the package loads nothing heavy: each name below is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.errors import RadialBenchError
    from radialbench.kernels.op import block_sparse_attention
    from radialbench.maskgen.compiler import compile_mask
    from radialbench.maskgen.grid import TokenGrid
    from radialbench.maskgen.library import load_mask, parse_mask
    from radialbench.maskgen.table import BlockTable
    from radialbench.parallel.attention import SequenceParallel
    from radialbench.reports.summary import Summary, load_summary, summarize

__version__ = "0.1.0"

__all__ = [
    "BlockTable",
    "RadialBenchError",
    "SequenceParallel",
    "Summary",
    "TokenGrid",
    "__version__",
    "block_sparse_attention",
    "compile_mask",
    "load_mask",
    "load_summary",
    "parse_mask",
    "summarize",
]

_HOMES = {
    "BlockTable": "radialbench.maskgen.table",
    "RadialBenchError": "radialbench.errors",
    "SequenceParallel": "radialbench.parallel.attention",
    "Summary": "radialbench.reports.summary",
    "TokenGrid": "radialbench.maskgen.grid",
    "block_sparse_attention": "radialbench.kernels.op",
    "compile_mask": "radialbench.maskgen.compiler",
    "load_mask": "radialbench.maskgen.library",
    "load_summary": "radialbench.reports.summary",
    "parse_mask": "radialbench.maskgen.library",
    "summarize": "radialbench.reports.summary",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'radialbench' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
