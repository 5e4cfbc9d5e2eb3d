"""Video models as data, one YAML file each: from a size in pixels to a grid of tokens."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from radialbench.errors import GridError, unknown
from radialbench.maskgen.grid import TokenGrid

FOLDER = Path(__file__).parent
SIDES = ("frames", "height", "width")


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear layers of one shape, and what they are applied to in a call of the transformer.

    Attributes:
        tokens: `video`, `text`, `joint` for both, or `call` for a single vector.
        inputs: Numbers that go in.
        outputs: Numbers that come out.
        count: How many such layers there are.
    """

    tokens: str
    inputs: int
    outputs: int
    count: int


@dataclass(frozen=True, slots=True)
class OtherAttention:
    """Attention besides self-attention, dense always: over text, or within it.

    Attributes:
        queries: Tokens that attend, as in `Linear`.
        keys: Tokens that are attended.
        width: Numbers of a token, all heads together.
        count: How often a call does it.
    """

    queries: str
    keys: str
    width: int
    count: int


@dataclass(frozen=True, slots=True)
class Model:
    """What a video model makes of a size in pixels.

    Attributes:
        name: Key of the preset.
        title: Name for people.
        source: Where the figures come from, and how text joins the video.
        vae: Pixels of a latent along [time, height, width]; the first frame is a latent of its own.
        patch: Latents of a token along [time, height, width].
        heads: Attention heads.
        head_dim: Numbers per head and token.
        layers: Transformer layers.
        example: A usual size.
        text_tokens: Text slots of the joint sequence; 0 where text joins by cross-attention.
        text_first: Whether the text stands before the video.
        steps: Denoising steps of a video; None where the model's work is not known.
        calls: Calls of the transformer in a step: two with a prompt and without, else one.
        cross_tokens: Text tokens that are attended by cross-attention.
        linear: Its linear layers, convolutions of patches included.
        attention: Attention besides self-attention.
    """

    name: str
    title: str
    source: str
    vae: tuple[int, int, int]
    patch: tuple[int, int, int]
    heads: int
    head_dim: int
    layers: int
    example: str
    text_tokens: int = 0
    text_first: bool = False
    steps: int | None = None
    calls: int = 1
    cross_tokens: int = 0
    linear: tuple[Linear, ...] = ()
    attention: tuple[OtherAttention, ...] = ()

    def grid(self, size: str) -> TokenGrid:
        """Lay out a video of a size such as `1280x720x81`: width×height×frames.

        Raises:
            GridError: The text is no size, or VAE and patches do not divide it; the message names
                the neighbouring sizes that work.
        """
        width, height, frames = parse_size(size)
        asked = (frames, height, width)
        near = [self._near(axis, pixels) for axis, pixels in enumerate(asked)]
        wrong = [axis for axis in (2, 1, 0) if asked[axis] not in near[axis]]
        if wrong:
            told = "; ".join(
                f"{SIDES[axis]} {asked[axis]} must be {self._rule(axis)}, such as "
                + " or ".join(map(str, near[axis]))
                for axis in wrong
            )
            fits = "x".join(str(near[axis][0]) for axis in (2, 1, 0))
            raise GridError(f"{self.name} cannot make {size}: {told}; {fits} works")
        latents, rows, columns = (
            (pixels - (axis == 0)) // self._step(axis) + (axis == 0)
            for axis, pixels in enumerate(asked)
        )
        return TokenGrid(
            latents, rows, columns, text_tokens=self.text_tokens, text_first=self.text_first
        )

    def _step(self, axis: int) -> int:
        return self.vae[axis] * self.patch[axis]

    def _rule(self, axis: int) -> str:
        multiple = f"a multiple of {self._step(axis)}"
        return f"1 more than {multiple}" if axis == 0 else multiple

    def _near(self, axis: int, pixels: int) -> list[int]:
        """The size itself if it works, else the next smaller and greater ones that do."""
        step, first = self._step(axis), 1 if axis == 0 else self._step(axis)
        below = (pixels - first) // step * step + first
        if below == pixels:
            return [pixels]
        return [side for side in (below, below + step) if side >= first]


def parse_size(size: str) -> tuple[int, int, int]:
    """Read `width×height×frames`, with an x or × between.

    Raises:
        GridError: The text is no such size.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})[x×]([1-9]\d{0,5})", str(size).strip())
    if not found:
        raise GridError(
            f"a size is width×height×frames, such as 1280x720x81, got {str(size)[:40]!r}"
        )
    return int(found[1]), int(found[2]), int(found[3])


def model_names() -> list[str]:
    """Names of the model presets."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


@lru_cache(maxsize=64)
def load_model(name: str) -> Model:
    """Load a model preset.

    Raises:
        GridError: There is no such preset.
    """
    if name not in model_names():
        raise GridError(unknown("model", name, model_names()))
    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    data["vae"], data["patch"] = tuple(data["vae"]), tuple(data["patch"])
    data["linear"] = tuple(Linear(*row) for row in data.get("linear", ()))
    data["attention"] = tuple(OtherAttention(*row) for row in data.get("attention", ()))
    return Model(name=name, **data)
