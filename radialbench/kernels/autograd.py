"""differentiable: two functions of a backend, forward and backward, as one call of autograd."""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from radialbench.errors import BackendError

NO_SECOND = (
    "block-sparse attention has no second gradient: call backward without create_graph, or use "
    "scaled_dot_product_attention with the whole mask where gradients of gradients are needed"
)
"""Why a second gradient is refused."""

Forward = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps q, k, v to out and lse, as `Run` of backends."""

Backward = Callable[
    [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]
]
"""Maps q, k, v, out, lse and the gradients of out and lse to those of q, k and v."""


def differentiable(forward: Forward, backward: Backward, *, through_lse: bool = True) -> Forward:
    """Return a call of `forward` whose gradients are those of `backward`; neither sees autograd.

    Without `through_lse`, `backward` knows no gradient of lse, and autograd refuses to ask for one.
    """

    def run(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor]
        given = (q, k, v, forward, backward, through_lse)
        result = _Attention.apply(*given)  # type: ignore[no-untyped-call]
        return result

    return run


class _Attention(torch.autograd.Function):
    """Attention of a backend."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        forward: Forward,
        backward: Backward,
        through_lse: bool,
    ) -> tuple[Tensor, Tensor]:
        """Compute out and lse."""
        out, lse = forward(q, k, v)
        if not through_lse:
            ctx.mark_non_differentiable(lse)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.run_backward = backward
        return out, lse

    @staticmethod
    def backward(ctx: Any, dout: Tensor, dlse: Tensor) -> tuple[Tensor | None, ...]:
        """Compute dq, dk and dv."""
        given = (*ctx.saved_tensors, dout, dlse, ctx.run_backward)
        return (*_Gradients.apply(*given), None, None, None)  # type: ignore[no-untyped-call]


class _Gradients(torch.autograd.Function):
    """The gradients of a backend's attention, which have none themselves."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, ...]:
        """Compute them."""
        *tensors, run_backward = given
        grads: tuple[Tensor, ...] = run_backward(*tensors)
        return grads

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> NoReturn:
        """Refuse."""
        raise BackendError(NO_SECOND)
