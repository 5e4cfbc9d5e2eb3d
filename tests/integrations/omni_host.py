"""What our plug-in sees of vLLM-Omni: its own modules, or their interface where it is not here.

The package needs vLLM, which needs a GPU's libraries. `VLLM_OMNI` names a folder with the unpacked
package: its modules of attention are then loaded as they are, and only vLLM, the platform and the
server's configuration are replaced. Without it their names and fields, as of version 0.30, are.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

ATTENTION = "vllm_omni.diffusion.attention.backends"
CONTEXT = "vllm_omni.diffusion.forward_context"
CONFIG = "vllm_omni.diffusion.config"


class AttentionBackend:
    pass


class AttentionImpl:
    pass


@dataclass(frozen=True)
class VideoTokenLayout:
    prefix_len: int | None = None
    latent_grid: tuple[int, int, int] | None = None
    used_len: int | None = None
    video_spans: tuple[Any, ...] = ()


@dataclass
class AttentionMetadata:
    attn_mask: Tensor | None = None
    joint_query: Tensor | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    full_attn_spans: Any = None
    video_layout: VideoTokenLayout | None = None


class SDPAImpl(AttentionImpl):
    def __init__(self, **given: Any) -> None:
        self.scale = given["softmax_scale"]

    def forward_cuda(self, query: Tensor, key: Tensor, value: Tensor, metadata: Any) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        mask = None
        if metadata is not None and metadata.attn_mask is not None:
            mask = metadata.attn_mask[:, None, None].bool()
        return scaled_dot_product_attention(q, k, v, mask, scale=self.scale).transpose(1, 2)


class SDPABackend(AttentionBackend):
    @staticmethod
    def get_impl_cls() -> type[SDPAImpl]:
        return SDPAImpl


class DiffusionAttentionBackendEnum(Enum):
    FLASH_ATTN = "no_such_module.FlashAttentionBackend"
    TORCH_SDPA = f"{__name__}.SDPABackend"
    RAINFUSION_ATTN = "no_such_module.RainFusionAttentionBackend"

    def get_class(self) -> Any:
        return resolved(OVERRIDES.get(self, self.value))


OVERRIDES: dict[DiffusionAttentionBackendEnum, str] = {}


def register_diffusion_backend(backend: DiffusionAttentionBackendEnum, path: str) -> None:
    OVERRIDES[backend] = path


def resolved(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@dataclass
class ForwardContext:
    denoise_step_idx: int | None = None
    denoise_timestep: float | None = None
    total_denoise_steps: int | None = None


INTERFACE: dict[str, dict[str, Any]] = {
    f"{ATTENTION}.abstract": {
        "AttentionBackend": AttentionBackend,
        "AttentionImpl": AttentionImpl,
        "AttentionMetadata": AttentionMetadata,
        "VideoTokenLayout": VideoTokenLayout,
    },
    f"{ATTENTION}.registry": {
        "DiffusionAttentionBackendEnum": DiffusionAttentionBackendEnum,
        "register_diffusion_backend": register_diffusion_backend,
    },
    CONTEXT: {"ForwardContext": ForwardContext, "_forward_context": None},
    CONFIG: {"_current_diffusion_config": None},
}


class _Anything(ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


def _of_interface() -> dict[str, ModuleType]:
    made = {name: ModuleType(name) for name in INTERFACE}
    for name, values in INTERFACE.items():
        made[name].__dict__.update(values)
    context = made[CONTEXT]
    context.__dict__["is_forward_context_available"] = lambda: context._forward_context is not None
    context.__dict__["get_forward_context"] = lambda: context._forward_context
    config = made[CONFIG]
    config.__dict__["get_current_diffusion_config_or_none"] = lambda: (
        config._current_diffusion_config
    )
    return made


def _of_package(folder: Path) -> dict[str, ModuleType]:
    """Return packages without their `__init__`, and what the modules of attention import."""
    made: dict[str, ModuleType] = {}
    for name in (*_parents(ATTENTION), ATTENTION, f"{ATTENTION}.utils"):
        made[name] = ModuleType(name)
        made[name].__path__ = [str(folder.joinpath(*name.split(".")))]
    for name in ("", ".logger", ".config", ".ir", ".utils", ".utils.import_utils"):
        made[f"vllm{name}"] = _Anything(f"vllm{name}")
    made["vllm.utils.import_utils"].__dict__["resolve_obj_by_qualname"] = resolved
    for name in ("vllm_omni.platforms", "vllm_omni.diffusion.data"):
        made[name] = _Anything(name)
    return made


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@contextmanager
def host() -> Iterator[Any]:
    """Make the host importable; yields its modules by their last names."""
    folder = os.environ.get("VLLM_OMNI")
    made = _of_package(Path(folder)) if folder else _of_interface()
    for name in list(made):
        made |= {parent: _Anything(parent) for parent in _parents(name) if parent not in made}
    before = {name for name in sys.modules if name.split(".")[0] in ("vllm", "vllm_omni")}
    assert not before
    sys.modules.update(made)
    # Flash attention is not here: the dense backend is PyTorch's.
    sys.modules[f"{ATTENTION}.flash_attn"] = None  # type: ignore[assignment]
    try:
        names = (f"{ATTENTION}.abstract", f"{ATTENTION}.registry", CONTEXT)
        yield [importlib.import_module(name) for name in names]
    finally:
        ours = "radialbench.integrations.vllm_omni_backend"
        for name in [name for name in sys.modules if name.split(".")[0] in ("vllm", "vllm_omni")]:
            del sys.modules[name]
        sys.modules.pop(ours, None)
        OVERRIDES.clear()
        torch._dynamo.reset()
