"""What Gluon's kernels ask of the copy engine, by one set of names under every Triton we know.

Triton 3.8 has other names for copies, and one for the reducing store that older builders had too.
"""

from typing import Any

from triton.experimental.gluon.language._core import builtin
from triton.experimental.gluon.language.nvidia.hopper import tma as _tma

store_wait = _tma.store_wait

if hasattr(_tma, "async_load"):
    async_copy_global_to_shared = _tma.async_load
    async_copy_shared_to_global = _tma.async_store
    async_atomic_add = _tma.async_atomic_add
else:
    from triton._C.libtriton import ir as _ir

    async_copy_global_to_shared = _tma.async_copy_global_to_shared
    async_copy_shared_to_global = _tma.async_copy_shared_to_global

    @builtin
    def async_atomic_add(tensor_desc: Any, coord: Any, src: Any, _semantic: Any = None) -> None:
        """Add a block of shared memory to one of global memory."""
        places = _semantic._convert_to_ir_values(coord, require_i64=False)
        kind = _ir.DESCRIPTOR_REDUCE_KIND.ADD
        _semantic.builder.create_async_tma_reduce(kind, tensor_desc.handle, places, src.handle)
