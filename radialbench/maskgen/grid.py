"""Token grids, and the video models that determine them for a size in pixels.

A model is data: one YAML file in `models`.
"""

import re
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from radialbench.errors import GridError, unknown

PRESETS = Path(__file__).parent / "models"
SIDES = ("frames", "height", "width")


@dataclass(frozen=True, slots=True, repr=False)
class TokenGrid:
    """A video of latent tokens and the text tokens of its joint sequence.

    In raster order the sequence is `[video | text]` (`[text | video]` with `text_first`); video
    token (t, y, x) has place `s = y·width + x` in frame t. The first `text_valid` text tokens are
    real, the rest is padding.

    Attributes:
        frames: Latent frames, ≥ 1.
        height: Token rows of a frame, ≥ 1.
        width: Token columns of a frame, ≥ 1.
        text_tokens: Text slots in the joint sequence, ≥ 0; cross-attended text does not count.
        text_first: Whether the text comes before the video.
        text_valid: Real text tokens; all of them if not given.
        query_frames: First and last frame of the queries, where only some of the tokens are
            queries: the others are keys of a cache. All tokens are keys in any case.
    """

    frames: int
    height: int
    width: int
    text_tokens: int = 0
    text_first: bool = False
    text_valid: int | None = None
    query_frames: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in SIDES:
            _check_count(name, getattr(self, name), at_least=1)
        _check_count("text_tokens", self.text_tokens, at_least=0)
        if self.text_valid is None:
            object.__setattr__(self, "text_valid", self.text_tokens)
        _check_count("text_valid", self.text_valid, at_least=0)
        if self.real_text > self.text_tokens:
            given = f"{self.text_valid} of {self.text_tokens}"
            raise GridError(f"text_valid must be at most text_tokens, got {given}")
        if self.seq_len > 2**31 - 1:
            raise GridError(f"a sequence has at most 2^31 - 1 tokens, got {self.seq_len:,}")
        if self.query_frames is not None:
            first, last = self.query_frames
            if not 0 <= first <= last < self.frames:
                raise GridError(
                    f"queries are frames from 0 to {self.frames - 1}, the first not after the "
                    f"last, got {first}-{last}"
                )
            if self.q_len == self.seq_len:
                object.__setattr__(self, "query_frames", None)

    def __repr__(self) -> str:
        # Fingerprints of tables contain it: without queries it is as it was before there were any.
        given = [
            (part.name, getattr(self, part.name))
            for part in fields(self)
            if part.name != "query_frames" or self.query_frames
        ]
        return f"TokenGrid({', '.join(f'{name}={value!r}' for name, value in given)})"

    @classmethod
    def for_model(cls, model: str, size: str) -> "TokenGrid":
        """Return the grid of a video of a known model.

        Args:
            model: A preset's name, such as `wan2.1-14b`.
            size: Pixels and frames as width×height×frames, such as `1280x720x81`.

        Raises:
            GridError: The model is unknown, or its VAE and patches do not divide the size; the
                message names the neighbouring sizes that work.
        """
        return load_model(model).grid(size)

    @property
    def frame_tokens(self) -> int:
        """Tokens of one frame."""
        return self.height * self.width

    @property
    def video_tokens(self) -> int:
        """Tokens of the video."""
        return self.frames * self.frame_tokens

    @property
    def seq_len(self) -> int:
        """Tokens of the whole sequence: video, text and its padding."""
        return self.video_tokens + self.text_tokens

    @property
    def q_len(self) -> int:
        """Query tokens."""
        if self.query_frames is None:
            return self.seq_len
        return (self.query_frames[1] - self.query_frames[0] + 1) * self.frame_tokens

    @property
    def query_start(self) -> int:
        """Position of the first query token in raster order."""
        if self.query_frames is None:
            return 0
        return self.video_start + self.query_frames[0] * self.frame_tokens

    @property
    def real_text(self) -> int:
        """Text tokens that are not padding."""
        return self.text_tokens if self.text_valid is None else self.text_valid

    @property
    def video_start(self) -> int:
        """Position of the first video token."""
        return self.text_tokens if self.text_first else 0

    @property
    def text_start(self) -> int:
        """Position of the first text token."""
        return 0 if self.text_first else self.video_tokens

    @property
    def label(self) -> str:
        """The layout as short text: frames×height×width, the text tokens, the query frames."""
        return self._format(str(self.frames))

    @property
    def sweep_label(self) -> str:
        """The label with F for the frames: one for all layouts that differ only in frames."""
        return self._format("F")

    def _format(self, frames: str) -> str:
        label = f"{frames}x{self.height}x{self.width}"
        if self.text_tokens:
            padded = f"{self.real_text}of" * (self.real_text != self.text_tokens)
            text = f"{padded}{self.text_tokens}"
            label = f"{text}+{label}" if self.text_first else f"{label}+{text}"
        if self.query_frames is None:
            return label
        return f"{label} q{self.query_frames[0]}-{self.query_frames[1]}"


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear layers of one shape, in a call of the transformer.

    Attributes:
        tokens: `video`, `text`, `joint` for both, or `call` for a single vector.
        inputs: Input features.
        outputs: Output features.
        count: Number of such layers.
    """

    tokens: str
    inputs: int
    outputs: int
    count: int


@dataclass(frozen=True, slots=True)
class OtherAttention:
    """Attention besides self-attention, always dense: over text, or within it.

    Attributes:
        queries: Query tokens, as `tokens` of `Linear`.
        keys: Key tokens.
        width: Elements of a token, all heads together.
        count: Number of such layers in a call.
    """

    queries: str
    keys: str
    width: int
    count: int


@dataclass(frozen=True, slots=True)
class Model:
    """A video model: its token layout for a size in pixels, and its layers.

    Attributes:
        name: Key of the preset.
        title: Name for people.
        source: Source of the figures, and how text joins the video.
        vae: Pixels of a latent along [time, height, width]; the first frame is a latent of its own.
        patch: Latents of a token along [time, height, width].
        heads: Attention heads.
        head_dim: Elements per head and token.
        layers: Transformer layers.
        example: A usual size.
        text_tokens: Text slots of the joint sequence; 0 where text joins by cross-attention.
        text_first: Whether the text comes before the video.
        kv_heads: Heads of k and v, if they are fewer.
        clips: Frames of the clips that the VAE encodes one by one, and of the shorter last one;
            None if it encodes the video as a whole.
        steps: Denoising steps of a video; None if the model's work is not known.
        calls: Calls of the transformer in a step: two with a prompt and without, else one.
        cross_tokens: Text tokens of cross-attention.
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
    kv_heads: int | None = None
    clips: tuple[int, int] | None = None
    steps: int | None = None
    calls: int = 1
    cross_tokens: int = 0
    linear: tuple[Linear, ...] = ()
    attention: tuple[OtherAttention, ...] = ()

    def grid(self, size: str) -> TokenGrid:
        """Return the grid of a size such as `1280x720x81`: width×height×frames.

        Raises:
            GridError: The text is no size, or VAE and patches do not divide it; the message names
                the neighbouring sizes that work.
        """
        width, height, frames = parse_size(size)
        sides = (frames, height, width)
        near = [self._near(axis, pixels) for axis, pixels in enumerate(sides)]
        wrong = [axis for axis in (2, 1, 0) if sides[axis] not in near[axis]]
        if wrong:
            reasons = "; ".join(
                f"{SIDES[axis]} {sides[axis]} must be {self._rule(axis)}, such as "
                + " or ".join(map(str, near[axis]))
                for axis in wrong
            )
            fits = "x".join(str(near[axis][0]) for axis in (2, 1, 0))
            raise GridError(f"{self.name} cannot make {size}: {reasons}; {fits} works")
        rows, columns = height // self._step(1), width // self._step(2)
        return TokenGrid(
            self._latents(frames) // self.patch[0],
            rows,
            columns,
            text_tokens=self.text_tokens,
            text_first=self.text_first,
        )

    def _latents(self, frames: int) -> int:
        """Return the latent frames: of a whole video or clip, the first frame is one of its own."""
        clip, last = self.clips or (frames, frames)
        return (frames - last) // clip * ((clip - 1) // self.vae[0] + 1) + (
            (last - 1) // self.vae[0] + 1
        )

    def _step(self, axis: int) -> int:
        if axis == 0 and self.clips:
            return self.clips[0]
        return self.vae[axis] * self.patch[axis]

    def _first(self, axis: int) -> int:
        """Return the smallest side that works."""
        if axis == 0:
            return self.clips[1] if self.clips else 1
        return self._step(axis)

    def _rule(self, axis: int) -> str:
        multiple = f"a multiple of {self._step(axis)}"
        return f"{self._first(0)} more than {multiple}" if axis == 0 else multiple

    def _near(self, axis: int, pixels: int) -> list[int]:
        """Return the size itself if it works, else the next smaller and greater ones that do."""
        step, first = self._step(axis), self._first(axis)
        below = (pixels - first) // step * step + first
        if below == pixels:
            return [pixels]
        return [side for side in (below, below + step) if side >= first]


def parse_size(size: str) -> tuple[int, int, int]:
    """Read `width×height×frames`, with an x or × between.

    Raises:
        GridError: The text is no such size.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})[x×]([1-9]\d{0,5})[x×]([1-9]\d{0,5})", str(size).strip())
    if not match:
        raise GridError(
            f"a size is width×height×frames, such as 1280x720x81, got {str(size)[:40]!r}"
        )
    return int(match[1]), int(match[2]), int(match[3])


def parse_frames(text: str) -> tuple[int, int]:
    """Read the frames of queries: the first and the last, such as `12-15`.

    Raises:
        GridError: The text is no such range.
    """
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", str(text).strip())
    if not match:
        raise GridError(
            f"queries are one range of frames, first-last, such as 12-15, got {str(text)[:40]!r}"
        )
    return int(match[1]), int(match[2])


def model_names() -> list[str]:
    """Return the names of the model presets."""
    return sorted(file.stem for file in PRESETS.glob("*.yaml"))


@lru_cache(maxsize=64)
def load_model(name: str) -> Model:
    """Load a model preset.

    Raises:
        GridError: There is no such preset.
    """
    if name not in model_names():
        raise GridError(unknown("model", name, model_names()))
    # Grids alone need no YAML.
    import yaml

    data = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    data["vae"], data["patch"] = tuple(data["vae"]), tuple(data["patch"])
    if "clips" in data:
        data["clips"] = tuple(data["clips"])
    data["linear"] = tuple(Linear(*row) for row in data.get("linear", ()))
    data["attention"] = tuple(OtherAttention(*row) for row in data.get("attention", ()))
    return Model(name=name, **data)


def _check_count(name: str, value: object, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise GridError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
