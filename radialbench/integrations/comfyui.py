"""The node of ComfyUI: a model's video attention under a mask, by the host's override hook.

A folder under ComfyUI's `custom_nodes` whose `__init__.py` has this line adds the node:

    from radialbench.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

The node adds a wrapper of the model's calls, which finds grid and step, and an override of its
attention to a copy of the model. Nothing of the host is replaced: the model that the node was given
is as it was.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from radialbench.integrations.comfyui_call import ModelCall, call_of
from radialbench.integrations.host_masks import HostMasks
from radialbench.integrations.host_schedule import numbered_from_zero
from radialbench.integrations.module import schedule_of
from radialbench.kernels.calls import untraced
from radialbench.kernels.tuned import warn_once
from radialbench.maskgen.library import mask_names
from radialbench.reading import read_whole

KEY = "radialbench"
"""Of the wrapper in the model, and of our facts of a call in the host's `transformer_options`."""

OVERRIDE = "optimized_attention_override"

KNOWN = {
    "attn_precision",
    "mask",
    "skip_output_reshape",
    "skip_reshape",
    "transformer_options",
    "_inside_attn_wrapper",
}
"""What the host says with a call of attention and we follow; another argument leaves it dense."""


class RadialBenchMask:
    """The node: a model in, its copy with masked attention out."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "apply"
    CATEGORY = "model_patches/attention"
    DESCRIPTION = "Video self-attention under a sparse mask, by layer and denoising step."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Return the node's inputs, in the host's form."""
        count = ("INT", {"default": 0, "min": 0, "max": 4096})
        return {
            "required": {
                "model": ("MODEL",),
                "mask": (mask_names(), {"default": "radial"}),
                "dense_layers": count,
                "dense_steps": count,
            },
            "optional": {"schedule": ("STRING", {"default": ""})},
        }

    @classmethod
    def IS_CHANGED(cls, *, schedule: str = "", **_: Any) -> str:
        """Return what changes with the file of the schedule: the host keeps the node's output."""
        try:
            return hashlib.sha256(read_whole(Path(schedule))).hexdigest() if schedule else ""
        except OSError:
            return ""

    def apply(
        self,
        model: Any,
        mask: str,
        dense_layers: int = 0,
        dense_steps: int = 0,
        schedule: str = "",
    ) -> tuple[Any]:
        """Return a copy of a model whose video attention is masked.

        Args:
            model: The host's `ModelPatcher`.
            mask: A mask of the library; with a schedule, `radial`.
            dense_layers: First layers that are dense.
            dense_steps: First steps that are dense.
            schedule: A file of masks by layer and step; it says itself what is dense.

        Raises:
            SpecError: The schedule cannot be read, or the mask or what is dense is given too.
            IntegrationError: The schedule has layers without a number from 0.
        """
        found = schedule_of(
            mask, schedule or None, {}, dense_layers=dense_layers, dense_steps=dense_steps
        )
        masks = HostMasks(numbered_from_zero(found, schedule or mask), "ComfyUI")
        return (masked(model, masks),)


NODE_CLASS_MAPPINGS = {"RadialBenchMask": RadialBenchMask}
NODE_DISPLAY_NAME_MAPPINGS = {"RadialBenchMask": "Sparse video attention (radialbench)"}


def masked(model: Any, masks: HostMasks) -> Any:
    """Return a copy of the host's `ModelPatcher` whose video attention is masked."""
    from comfy.patcher_extension import WrappersMP

    copy = model.clone()
    copy.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, KEY)
    copy.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, with_call)
    options = dict(copy.model_options.get("transformer_options", {}))
    before = options.get(OVERRIDE)
    # One of ours is replaced, not called: a mask that is set again counts alone.
    if isinstance(before, Override):
        before = before.before
    options[OVERRIDE] = Override(masks, before)
    copy.model_options["transformer_options"] = options
    return copy


def with_call(
    executor: Any,
    x: Tensor,
    t: Tensor,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Call the model, the host's `BaseModel`, with the grid and step of this call in its options.

    Arguments are the host's, of its wrapper `APPLY_MODEL`.
    """
    options = dict(transformer_options or {})
    call = options[KEY] = call_of(executor.class_obj, x, t, c_crossattn, options, kwargs)
    out = executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
    if not call.on_grid:
        name = type(executor.class_obj.diffusion_model).__name__
        warn_once(f"radialbench masks nothing in {name}: {call.why_dense()}")
    return out


@dataclass(eq=False)
class Override:
    """The host's override of attention, in place of one that was set before.

    Attributes:
        masks: The masks.
        before: The override before; None if there was none.
    """

    masks: HostMasks
    before: Callable[..., Any] | None = None

    def __deepcopy__(self, memo: Any) -> "Override":
        """Return itself: the host copies its options deeply, and masks are shared."""
        return self

    def __call__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Attend under the mask, or as the host would."""
        out = untraced(self.attend)(*args, **kwargs)
        if out is not None:
            return out
        return func(*args, **kwargs) if self.before is None else self.before(func, *args, **kwargs)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, *rest: Any, **said: Any
    ) -> Tensor | None:
        """Return attention under the mask in the form the host asks for; None where it is dense."""
        options = said.get("transformer_options") or {}
        call: ModelCall | None = options.get(KEY)
        odd = [name for name, value in said.items() if name not in KNOWN and value not in (None, 0)]
        if call is None or mask is not None or rest or odd:
            return None
        by_head = bool(said.get("skip_reshape"))
        if not by_head:
            q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        if q.shape[2] != k.shape[2] or (grid := call.grid_of(q.shape[2])) is None:
            return None
        layer = call.layer_of(options)
        out = self.masks.attend(q, k, v, grid, layer=layer, step=call.step, noise=call.noise)
        if out is None or said.get("skip_output_reshape"):
            return out
        return out.transpose(1, 2).flatten(2)
