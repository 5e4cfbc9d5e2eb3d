"""What our attention sees of LightX2V: its own modules, or their interface where it is not here.

The package is not on PyPI and imports GPU libraries when it starts. `LIGHTX2V` names a folder with
its repository: its registry, template and dense attention are then loaded as they are, without the
`__init__` of its packages. Without it their names and arguments, as of August 2026, are.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

REGISTRY = "lightx2v.utils.registry_factory"
ATTENTION = "lightx2v.common.ops.attn"


class Register(dict[str, Any]):
    def register(self, target: Callable[..., Any], key: str) -> Callable[..., Any]:
        if key in self:
            raise Exception(f"{key} already exists.")
        self[key] = target
        return target


class AttnWeightTemplate:
    pass


class TorchSDPAWeight(AttnWeightTemplate):
    def apply(self, q: Tensor, k: Tensor, v: Tensor, causal: bool = False, **said: Any) -> Tensor:
        q, k, v = ((x[None] if x.ndim == 3 else x).transpose(1, 2) for x in (q, k, v))
        out: Tensor = scaled_dot_product_attention(q, k, v, is_causal=causal)
        return out.transpose(1, 2).flatten(2).squeeze(0)


def _module(name: str, **values: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(values, __path__=[], __spec__=ModuleSpec(name, None))
    return made


def _of_interface() -> dict[str, ModuleType]:
    registry = Register(torch_sdpa=TorchSDPAWeight)
    return {
        REGISTRY: _module(REGISTRY, ATTN_WEIGHT_REGISTER=registry),
        f"{ATTENTION}.template": _module(
            f"{ATTENTION}.template", AttnWeightTemplate=AttnWeightTemplate
        ),
    }


def _packages(folder: Path) -> dict[str, ModuleType]:
    """Return the packages of a repository without their `__init__`."""
    made = {}
    names = ("lightx2v", "lightx2v.utils", "lightx2v.common", "lightx2v.common.ops", ATTENTION)
    for name in (*names, "lightx2v_platform"):
        made[name] = _module(name)
        made[name].__dict__["__path__"] = [str(folder.joinpath(*name.split(".")))]
    return made


@contextmanager
def host() -> Iterator[Any]:
    """Make the host importable; yields its registry of attention."""
    folder = os.environ.get("LIGHTX2V")
    made = _packages(Path(folder)) if folder else _of_interface()
    for name in list(made):
        parts = name.split(".")
        for count in range(1, len(parts)):
            parent = ".".join(parts[:count])
            made.setdefault(parent, _module(parent))
    sys.modules.update(made)
    try:
        if folder:
            importlib.import_module(f"{ATTENTION}.torch_sdpa")
        yield importlib.import_module(REGISTRY).ATTN_WEIGHT_REGISTER
    finally:
        sys.modules.pop("radialbench.integrations.lightx2v_attention", None)
        for name in [one for one in sys.modules if one.split(".")[0].startswith("lightx2v")]:
            del sys.modules[name]
