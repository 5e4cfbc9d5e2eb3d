"""Try what diffusers offers on every supported transformer under a mask, and keep what came out.

    python -m benchmarks.models -o benchmarks/results/models.jsonl   # all, anew; a minute on a CPU
    python -m benchmarks.pages integrations                          # docs/integrations.md

Transformers are small and have random weights. A feature works if the output under a mask is that
of the stock processors with PyTorch's attention under the same token mask.
"""

import argparse
import importlib.metadata
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.parts import RESULTS, measured_here, read_lines
from radialbench import TokenGrid, compile_mask, load_mask
from radialbench.errors import RadialBenchError
from radialbench.integrations.attending import Attends, MaskedAttention, Watch
from radialbench.integrations.blueprint import TINY, Blueprint, sharpen, tiny_size
from radialbench.integrations.diffusers import apply_radial
from radialbench.integrations.inputs import call_inputs
from radialbench.integrations.models import MODELS, REFUSED, kind_of
from radialbench.integrations.sampling import text_grid, video_of
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.records.result import Environment
from radialbench.records.store import write_whole
from radialbench.reports.text import markdown_table

STORED = RESULTS / "models.jsonl"
TEXT = 24
"""Text tokens of a joint sequence."""

FEW: dict[str, Any] = {
    "num_layers": 2,
    "num_single_layers": 1,
    "num_visual_blocks": 2,
    "vace_layers": [0],
}
"""Layers of the transformers, where they have such."""

WORKS, REFUSES, NONE, FAILS = "yes", "refused", "–", "no"


@dataclass(frozen=True, slots=True)
class ModelFeature:
    """Whether a feature works with a mask in a transformer.

    Attributes:
        transformer: Its class.
        feature: The feature.
        outcome: `yes`, `refused`, `–` where the model has no such thing, or `no`.
        detail: The refusal, or what went wrong.
        environment: Where it was tried.
        created: When, in ISO 8601.
        diffusers: Version of diffusers.
    """

    transformer: str
    feature: str
    outcome: str
    detail: str
    environment: Environment
    created: str
    diffusers: str


@dataclass(eq=False)
class Trial:
    """A small transformer, its size and the arguments of a call."""

    transformer: Any
    size: str
    grid: TokenGrid
    inputs: dict[str, Any]

    @classmethod
    def of(cls, title: str, *, batch: int = 1, **config: Any) -> "Trial":
        """Build a transformer of a class."""
        fewer = {name: FEW[name] for name in FEW if name in TINY[title]}
        transformer = Blueprint(title, TINY[title] | fewer | config).build("cpu", torch.float32)
        sharpen(transformer)
        model = kind_of(transformer).model(transformer)
        size = tiny_size(model)
        grid = text_grid(transformer, model.grid(size))
        if grid.text_tokens:
            grid = replace(grid, text_tokens=TEXT, text_valid=None)
        return cls(transformer, size, grid, call_inputs(transformer, grid, batch=batch))

    def apply(self, mask: MaskSpec) -> None:
        """Put a mask into the transformer."""
        apply_radial(self.transformer, size=self.size, mask=mask)

    def out(self) -> Tensor:
        """Call the transformer."""
        with torch.no_grad():
            return video_of(self.transformer(**self.inputs, return_dict=False))

    def expected(self, mask: MaskSpec) -> Tensor:
        """Call the stock transformer with PyTorch's attention under a token mask."""
        layers = len(list(kind_of(self.transformer).attentions(self.transformer)))
        heads = kind_of(self.transformer).heads(self.transformer.config)[0]
        table = compile_mask(mask, self.grid)
        masked = MaskedAttention(table, heads, torch.device("cpu")).rounded(exact=False)
        with Attends.all_by(masked, Watch()).within(self.transformer, range(layers)):
            return self.out()


def radial() -> MaskSpec:
    """Return the mask of most trials."""
    return load_mask("radial", decay=0.3)


def same(got: Tensor, wanted: Tensor, other: Tensor | None = None) -> None:
    """Compare outputs, and see that another one differs.

    Raises:
        AssertionError: They differ by more than rounding, or the other one does not.
    """
    scale = float(wanted.abs().max())
    error = float((got - wanted).abs().max())
    # Kandinsky rounds q and k to bfloat16, so that rounding may flip one of its digits.
    assert error <= 1e-4 * scale, f"differs by {error:.2g} of {scale:.2g}"
    if other is not None:
        moved = float((other - wanted).abs().max())
        assert moved > 1e-3 * scale, f"the mask changes {moved:.2g} of {scale:.2g}"


def masked(trial: Trial, mask: MaskSpec | None = None) -> None:
    """Compare a trial under a mask with the definition."""
    mask = mask or radial()
    dense, wanted = trial.out(), trial.expected(mask)
    trial.apply(mask)
    same(trial.out(), wanted, dense if compile_mask(mask, trial.grid).density < 1 else None)


def try_mask(title: str) -> None:
    """A mask in all layers."""
    masked(Trial.of(title))


def try_order(title: str) -> None:
    """A mask whose tokens stand in tiles."""
    tiles: dict[str, Any] = {
        "tile_t": 2,
        "tile_h": 3,
        "tile_w": 4,
        "window_t": 1,
        "window_h": 3,
        "window_w": 1,
    }
    masked(Trial.of(title), load_mask("sta", **tiles))


def try_guidance(title: str) -> None:
    """A batch of two prompts, the second with padding where text is part of the sequence."""
    trial = Trial.of(title, batch=2)
    text = trial.inputs.get("encoder_attention_mask")
    if text is not None and kind_of(trial.transformer).joint:
        text[1, -3:] = 0
    masked(trial)


def first_frame(trial: Trial) -> None:
    """Set the timestep of the first frame's tokens to that of no noise."""
    each = trial.inputs["timestep"][:, None].repeat(1, trial.grid.video_tokens)
    each[:, : trial.grid.frame_tokens] = 0
    if "audio_hidden_states" in trial.inputs:
        trial.inputs["audio_timestep"] = trial.inputs["timestep"]
    trial.inputs["timestep"] = each


def conditioned(trial: Trial) -> None:
    """Set the mask of conditions and the timestep of each frame, as Cosmos has them."""
    latents, frames = trial.inputs["hidden_states"][:, :-1], trial.inputs["hidden_states"].shape[2]
    trial.inputs["hidden_states"] = latents
    trial.inputs["condition_mask"] = torch.zeros_like(latents[:, :1])
    trial.inputs["condition_mask"][:, :, 0] = 1
    each = trial.inputs["timestep"].view(-1, 1, 1, 1, 1).repeat(1, 1, frames, 1, 1)
    each[:, :, 0] = 1e-4
    trial.inputs["timestep"] = each


def unchanged(trial: Trial) -> None:
    """Leave the arguments as they are: what they are is in the configuration, or always there."""


_IMAGE = {"image_dim": 8, "added_kv_proj_dim": 128}
IMAGES: dict[str, tuple[dict[str, Any], Callable[[Trial], None]]] = {
    "WanTransformer3DModel": (_IMAGE, unchanged),
    "WanVACETransformer3DModel": ({}, unchanged),
    "ChronoEditTransformer3DModel": (_IMAGE, unchanged),
    "SkyReelsV2Transformer3DModel": (_IMAGE, unchanged),
    "HunyuanVideoTransformer3DModel": ({"image_condition_type": "token_replace"}, unchanged),
    "HunyuanVideo15Transformer3DModel": ({}, unchanged),
    "CogVideoXTransformer3DModel": ({"in_channels": 32}, unchanged),
    "LTXVideoTransformer3DModel": ({}, first_frame),
    "LTX2VideoTransformer3DModel": ({}, first_frame),
    "CosmosTransformer3DModel": ({"in_channels": 17}, conditioned),
    "Kandinsky5Transformer3DModel": ({"visual_cond": True}, unchanged),
}
"""How an image comes into a call of each class."""


def try_image(title: str) -> None:
    """A video that begins with an image, as the class takes it.

    Raises:
        LookupError: It takes none.
    """
    config, change = IMAGES[title]
    trial = Trial.of(title, **config)
    change(trial)
    masked(trial)


def try_compile(title: str) -> None:
    """Blocks that torch.compile traces whole."""
    trial = Trial.of(title)
    trial.apply(radial())
    wanted = trial.out()
    torch._dynamo.reset()
    for blocks in kind_of(trial.transformer).blocks:
        for block in getattr(trial.transformer, blocks)[:1]:
            block.compile(fullgraph=True, backend="eager")
    same(trial.out(), wanted)


def try_checkpointing(title: str) -> None:
    """Gradients of the latents, with activations computed again."""
    trial, grads = Trial.of(title), []
    trial.apply(radial())
    for again in (False, True):
        if again:
            trial.transformer.enable_gradient_checkpointing()
            trial.transformer.train()
        latents = trial.inputs["hidden_states"].clone().requires_grad_()
        video_of(
            trial.transformer(**trial.inputs | {"hidden_states": latents}, return_dict=False)
        ).square().sum().backward()
        assert latents.grad is not None
        grads.append(latents.grad)
    same(grads[1], grads[0])


def try_casting(title: str) -> None:
    """Weights that are stored in 8 bits."""
    trial = Trial.of(title)
    trial.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn)
    masked(trial)


def try_offload(title: str) -> None:
    """Weights that accelerate brings in before each layer and takes away after it."""
    from accelerate import cpu_offload

    trial = Trial.of(title)
    wanted, dense = trial.expected(radial()), trial.out()
    cpu_offload(trial.transformer, execution_device=torch.device("cpu"))
    trial.apply(radial())
    same(trial.out(), wanted, dense)


def try_parallel(title: str) -> None:
    """A sequence that context parallelism splits over GPUs."""
    trial = Trial.of(title)
    split = SimpleNamespace(context_parallel_config=SimpleNamespace(ulysses_degree=2))
    trial.transformer._parallel_config = split
    trial.apply(radial())


FEATURES: dict[str, Callable[[str], None]] = {
    "mask": try_mask,
    "token orders": try_order,
    "guidance batch": try_guidance,
    "image": try_image,
    "`torch.compile`": try_compile,
    "gradient checkpointing": try_checkpointing,
    "layerwise casting": try_casting,
    "CPU offload": try_offload,
    "context parallelism": try_parallel,
}


def outcome(title: str, feature: str) -> tuple[str, str]:
    """Try a feature, and return what came out with its detail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            FEATURES[feature](title)
        except LookupError as error:
            return (NONE, "") if title not in IMAGES else (FAILS, repr(error))
        except RadialBenchError as error:
            return REFUSES, str(error)
        except Exception as error:
            return FAILS, f"{type(error).__name__}: {error}".split("\n")[0]
    return WORKS, ""


def parts() -> dict[str, str]:
    """Return the table of docs/integrations.md."""
    found = {(one.transformer, one.feature): one for one in read_lines(STORED, ModelFeature)}
    titles = list(dict.fromkeys(title for title, _ in found))
    body = [
        (f"`{title}`", *(found[title, feature].outcome for feature in FEATURES)) for title in titles
    ]
    table = markdown_table(("transformer", *FEATURES), body, text_columns=1 + len(FEATURES))
    reasons = dict.fromkeys(one.detail for one in found.values() if one.outcome == REFUSES)
    lines = [f"- Refused: {reason}." for reason in reasons]
    lines += [f"- Not supported: `{title}`: {reason}." for title, reason in REFUSED.items()]
    version = next(iter(found.values())).diffusers
    return {"models": "\n".join([table, "", *lines, "", f"With diffusers {version}."])}


def main() -> int:
    """Try all features of all classes."""
    parser = argparse.ArgumentParser(description="Try features under masks.")
    parser.add_argument("-o", "--out", type=Path, required=True, help="write this file")
    options = parser.parse_args()
    here = measured_here("benchmarks.models", "cpu")
    version = importlib.metadata.version("diffusers")
    records = []
    for title in MODELS:
        for feature in FEATURES:
            result, detail = outcome(title, feature)
            records.append(ModelFeature(title, feature, result, detail, **here, diffusers=version))
            print(f"{title}, {feature}: {result} {detail}")
    write_whole(options.out, records)
    return int(any(one.outcome == FAILS for one in records))


if __name__ == "__main__":
    sys.exit(main())
