"""What our node sees of ComfyUI: its own modules, or their interface where it is not here.

ComfyUI is no package of PyPI. `COMFYUI` names a folder of it: its models, `BaseModel`,
`ModelPatcher` and attention then run as they are, on the CPU. Without it the names, arguments and
order of calls that the node uses are, as of version 0.33.
"""

import copy
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

HEADS, HEAD_DIM, CHANNELS = 2, 16, 4
WIDTH = HEADS * HEAD_DIM
OVERRIDE = "optimized_attention_override"


@dataclass(frozen=True)
class Host:
    """The host.

    Attributes:
        numbered: Whether it says the number of a layer.
        wan: Makes a patcher of a model whose text is attended to apart.
        hunyuan: Makes one of a model whose text stands behind the video; two layers of each kind.
    """

    numbered: bool
    wan: Callable[[], Any]
    hunyuan: Callable[[], Any]

    def run(self, patcher: Any, x: Tensor, text: Tensor, sigma: float = 1.0, **said: Any) -> Tensor:
        """Call a patcher's model as the host's samplers do."""
        options = copy.deepcopy(patcher.model_options["transformer_options"])
        wrappers = options.setdefault("wrappers", {})
        for kind, by_key in patcher.wrappers.items():
            for key, listed in by_key.items():
                wrappers.setdefault(kind, {}).setdefault(key, []).extend(listed)
        t = torch.full((len(x),), sigma)
        options |= {"sample_sigmas": torch.tensor([1.0, 0.8, 0.5, 0.0]), "sigmas": t}
        options = {name: value for name, value in (options | said).items() if value is not None}
        extra = {"y": torch.zeros(len(x), 8)} if "Hunyuan" in str(type(patcher.model)) else {}
        with torch.no_grad():
            out: Tensor = patcher.model.apply_model(
                x, t, c_crossattn=text, transformer_options=options, **extra
            )
        return out


def optimized_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, **said: Any) -> Tensor:
    override = (said.get("transformer_options") or {}).get(OVERRIDE)
    said["_inside_attn_wrapper"] = True
    if override is not None:
        out: Tensor = override(attention_pytorch, q, k, v, heads, **said)
        return out
    return attention_pytorch(q, k, v, heads, **said)


def attention_pytorch(
    q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, **said: Any
) -> Tensor:
    if not said.get("skip_reshape"):
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return out if said.get("skip_output_reshape") else out.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Self-attention, and attention to a text if there is one; as the host's, flat or by head."""

    def __init__(self, by_head: bool) -> None:
        super().__init__()
        self.by_head = by_head
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x: Tensor, text: Tensor | None, options: dict[str, Any]) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.by_head:
            q, k, v = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in (q, k, v))
        x = x + optimized_attention(
            q, k, v, HEADS, skip_reshape=self.by_head, transformer_options=options
        )
        if text is not None:
            _, k, v = self.qkv(text).chunk(3, dim=-1)
            x = x + optimized_attention(x, k, v, heads=HEADS, transformer_options=options)
        return x


class WanModel(nn.Module):
    patch_size = (1, 2, 2)

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv3d(CHANNELS, WIDTH, self.patch_size, self.patch_size)
        self.blocks = nn.ModuleList(Block(False) for _ in range(2))

    def forward(self, x: Tensor, text: Tensor, transformer_options: dict[str, Any]) -> Tensor:
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)
        for transformer_options["block_index"], block in enumerate(self.blocks):
            x = block(x, text, transformer_options)
        return x


class HunyuanVideo(WanModel):
    def __init__(self) -> None:
        super().__init__()
        del self.blocks
        self.refiner = Block(True)
        self.double_blocks = nn.ModuleList(Block(True) for _ in range(2))
        self.single_blocks = nn.ModuleList(Block(True) for _ in range(2))

    def forward(self, x: Tensor, text: Tensor, transformer_options: dict[str, Any]) -> Tensor:
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)
        text = self.refiner(text, None, transformer_options)
        x = torch.cat([x, text], dim=1)
        for kind in ("double", "single"):
            transformer_options["block_type"] = kind
            blocks = getattr(self, f"{kind}_blocks")
            for transformer_options["block_index"], block in enumerate(blocks):
                x = block(x, None, transformer_options)
        return x


class BaseModel(nn.Module):
    def __init__(self, diffusion_model: nn.Module) -> None:
        super().__init__()
        self.diffusion_model = diffusion_model
        self.model_sampling = SimpleNamespace(sigma_max=torch.tensor(1.0))

    def apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Any:
        wrappers = transformer_options.get("wrappers", {}).get("apply_model", {}).values()
        call: Any = Executor(self, self._apply_model)
        for wrapper in (one for listed in wrappers for one in listed):
            call = Executor(self, wrapper, call)
        return call(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Any,
        c_crossattn: Tensor,
        control: Any,
        transformer_options: Any,
        **kwargs: Any,
    ) -> Any:
        return self.diffusion_model(x, c_crossattn, transformer_options)


class HunyuanBase(BaseModel):
    pass


class Executor:
    """A wrapper's way to the next one, or to the model."""

    def __init__(self, class_obj: Any, function: Callable[..., Any], *inner: Any) -> None:
        self.class_obj = class_obj
        self._call = partial(function, *inner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)


class ModelPatcher:
    def __init__(self, model: BaseModel) -> None:
        self.model = model
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.wrappers: dict[str, dict[str, list[Any]]] = {}

    def clone(self) -> "ModelPatcher":
        made = ModelPatcher(self.model)
        made.model_options = copy.deepcopy(self.model_options)
        for kind, by_key in self.wrappers.items():
            made.wrappers[kind] = {key: list(listed) for key, listed in by_key.items()}
        return made

    def add_wrapper_with_key(self, wrapper_type: str, key: str, wrapper: Any) -> None:
        self.wrappers.setdefault(wrapper_type, {}).setdefault(key, []).append(wrapper)

    def remove_wrappers_with_key(self, wrapper_type: str, key: str) -> None:
        self.wrappers.get(wrapper_type, {}).pop(key, None)


def seeded(model: Any) -> Any:
    """Fill a model's weights by name, without what an initialization left empty."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=draw) * 0.2)
    return model.eval()


def _interface() -> Host:
    package, extension = ModuleType("comfy"), ModuleType("comfy.patcher_extension")
    extension.__dict__["WrappersMP"] = SimpleNamespace(APPLY_MODEL="apply_model")
    sys.modules |= {"comfy": package, "comfy.patcher_extension": extension}
    return Host(
        True,
        lambda: ModelPatcher(seeded(BaseModel(WanModel()))),
        lambda: ModelPatcher(seeded(HunyuanBase(HunyuanVideo()))),
    )


def _real(folder: str) -> Host:
    sys.path.insert(0, folder)
    # Image models of the host import it; the video models here do not.
    for name in ("", ".models", ".ops", ".transforms", ".transforms.functional"):
        spec = ModuleSpec(f"torchvision{name}", None)
        sys.modules[spec.name] = MagicMock(__spec__=spec, __path__=[])
    importlib.import_module("comfy.options").enable_args_parsing(False)
    importlib.import_module("comfy.cli_args").args.cpu = True
    base: Any = importlib.import_module("comfy.model_base")
    patcher: Any = importlib.import_module("comfy.model_patcher").ModelPatcher
    ops: Any = importlib.import_module("comfy.ops").disable_weight_init
    source = importlib.import_module("comfy.ldm.hunyuan_video.model").__file__ or ""
    with open(source, encoding="utf-8") as file:  # noqa: PTH123
        numbered = "block_index" in file.read()

    def made(kind: Any, **unet: Any) -> Any:
        config = MagicMock(unet_config=unet | {"dtype": torch.float32}, sampling_settings={})
        config.configure_mock(manual_cast_dtype=None, custom_operations=ops, memory_usage_factor=1)
        device = torch.device("cpu")
        return patcher(seeded(kind(config, device=device)), device, device)

    wan = {"in_dim": CHANNELS, "out_dim": CHANNELS, "dim": WIDTH, "ffn_dim": 48, "freq_dim": 32}
    wan |= {"text_dim": WIDTH, "num_heads": HEADS, "num_layers": 2}
    hunyuan = {"in_channels": CHANNELS, "out_channels": CHANNELS, "patch_size": [1, 2, 2]}
    hunyuan |= {"context_in_dim": WIDTH, "hidden_size": WIDTH, "mlp_ratio": 1.5, "theta": 256}
    hunyuan |= {"num_heads": HEADS, "depth": 2, "depth_single_blocks": 2, "axes_dim": [4, 6, 6]}
    hunyuan |= {"vec_in_dim": 8, "qkv_bias": True, "guidance_embed": False}
    params = importlib.import_module("comfy.ldm.hunyuan_video.model").HunyuanVideoParams
    # Later versions have more fields, of what this model has not.
    hunyuan = dict.fromkeys(params.__annotations__, False) | hunyuan | {"vision_in_dim": None}
    hunyuan = {name: value for name, value in hunyuan.items() if name in params.__annotations__}
    return Host(
        numbered, lambda: made(base.WAN21, **wan), lambda: made(base.HunyuanVideo, **hunyuan)
    )


@contextmanager
def host() -> Iterator[Host]:
    """Make the host importable."""
    folder = os.environ.get("COMFYUI")
    before = set(sys.modules)
    path = list(sys.path)
    try:
        yield _real(folder) if folder else _interface()
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("comfy", "torchvision"):
                del sys.modules[name]
