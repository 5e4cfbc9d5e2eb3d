"""prepare_gradients: launches of the backward kernel that is the best where they run."""

from typing import Any

from radialbench.kernels.arch import Target
from radialbench.kernels.device_table import TableKey
from radialbench.kernels.triton.backward_hopper_launch import (
    hopper_backward_reasons,
    prepare_hopper_backward,
)
from radialbench.kernels.triton.backward_launch import Backward, prepare_backward
from radialbench.kernels.triton.launch import Layout
from radialbench.records.problem import GradientSteps


def gradient_kernel(
    dout: Layout,
    q: Layout,
    k: Layout,
    v: Layout,
    *,
    backend: str | None,
    fixed_order: bool,
    table: TableKey,
    target: Target,
) -> str:
    """Return the kernel that computes gradients: `hopper` or `triton`.

    Args:
        dout: The gradient of out, as q.
        q: Queries.
        k: Keys.
        v: Values.
        backend: What computed out, if it was asked for: `triton` is portable in both directions.
        fixed_order: Whether sums must be added up in a fixed order.
        table: The blocks to visit.
        target: Where it runs.
    """
    portable = backend == "triton" or fixed_order
    if portable or hopper_backward_reasons(dout, q, k, v, table=table, target=target):
        return "triton"
    return "hopper"


def prepare_gradients(
    kernel: str,
    *layouts: Layout,
    table: TableKey,
    target: Target,
    key_lens: bool,
    with_lse: bool,
    steps: GradientSteps | None,
) -> Backward:
    """Prepare launches of a kernel; the other arguments are those of `prepare_backward`.

    `steps` are for `triton`, which needs them.
    """
    options: dict[str, Any] = {
        "table": table,
        "target": target,
        "key_lens": key_lens,
        "with_lse": with_lse,
    }
    if kernel == "hopper":
        return prepare_hopper_backward(*layouts, **options)
    assert steps is not None
    return prepare_backward(*layouts, **options, steps=steps)
