"""Token grids, and the video models that determine them for a size in pixels.

A model is data: one YAML file in `models`.
"""

import re
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import accumulate
from math import prod
from pathlib import Path

from radialbench.errors import GridError, unknown
from radialbench.plain import plain_field

PRESETS = Path(__file__).parent / "models"
SIDES = ("frames", "height", "width")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a sequence: a video, or flat tokens such as text, audio or registers.

    Attributes:
        name: A plain word, unique in its sequence.
        tokens: Number of tokens; those of all frames, for a video.
        sides: Frames, token rows and token columns of a video; None for flat tokens.
        valid: Flat tokens that are real, the first ones; the rest is padding. All if not given.
    """

    name: str
    tokens: int = 0
    sides: tuple[int, int, int] | None = None
    valid: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", self.name):
            raise GridError(f"the name of a segment is a plain word, got {self.name[:40]!r}")
        if self.sides is not None:
            for word, side in zip(SIDES, _numbers(self, "sides", 3), strict=True):
                _check_count(f"{self.name}: {word}", side, at_least=1)
            if self.tokens not in (0, prod(self.sides)) or self.valid not in (None, self.tokens):
                raise GridError(
                    f"{self.name}: a video has all tokens of its frames, none is padding"
                )
            object.__setattr__(self, "tokens", prod(self.sides))
        _check_field(self, "tokens", at_least=1)
        if self.valid is None:
            object.__setattr__(self, "valid", self.tokens)
        _check_field(self, "valid", at_least=0)
        if self.real > self.tokens:
            raise GridError(
                f"{self.name}: valid must be at most tokens, got {self.valid} of {self.tokens}"
            )

    @classmethod
    def parse(cls, name: str, text: str) -> "Segment":
        """Read the sides of a video, `13x30x45`, or a number of tokens, `120` or `100of120`.

        Raises:
            GridError: The text is neither.
        """
        text = str(text).strip()
        if match := re.fullmatch(r"(\d{1,9})[x×](\d{1,9})[x×](\d{1,9})", text):
            return cls(name, sides=(int(match[1]), int(match[2]), int(match[3])))
        if match := re.fullmatch(r"(?:(\d{1,9})of)?(\d{1,9})", text):
            return cls(name, int(match[2]), valid=int(match[1]) if match[1] else None)
        raise GridError(
            f"{name}: a segment is frames×rows×columns of a video, such as 13x30x45, or tokens, "
            f"such as 120, or 100of120 with padding; got {text[:40]!r}"
        )

    @property
    def real(self) -> int:
        """Tokens that are not padding."""
        return self.tokens if self.valid is None else self.valid

    @property
    def frames(self) -> int:
        """Frames; 1 for flat tokens."""
        return self.sides[0] if self.sides else 1

    @property
    def height(self) -> int:
        """Token rows of a frame; 1 for flat tokens."""
        return self.sides[1] if self.sides else 1

    @property
    def width(self) -> int:
        """Token columns of a frame; all flat tokens."""
        return self.sides[2] if self.sides else self.tokens

    @property
    def frame_tokens(self) -> int:
        """Tokens of one frame; all flat tokens."""
        return self.height * self.width

    @property
    def label(self) -> str:
        """Its size as `parse` reads it."""
        if self.sides:
            return "x".join(map(str, self.sides))
        return f"{self.real}of" * (self.real != self.tokens) + str(self.tokens)


@dataclass(frozen=True, slots=True, repr=False)
class TokenGrid:
    """A video of latent tokens and the text tokens of its joint sequence.

    In raster order the sequence is `[video | text]` (`[text | video]` with `text_first`); video
    token (t, y, x) has place `s = y·width + x` in frame t. The first `text_valid` text tokens are
    real, the rest is padding.

    A sequence of further segments is made with `TokenGrid.of`: one of them is the `video`, whose
    sides are those of the grid.

    Attributes:
        frames: Latent frames, ≥ 1.
        height: Token rows of a frame, ≥ 1.
        width: Token columns of a frame, ≥ 1.
        text_tokens: Text slots in the joint sequence, ≥ 0; cross-attended text does not count.
        text_first: Whether the text comes before the video.
        text_valid: Real text tokens; all of them if not given.
        query_frames: First and last frame of the queries, where only some of the tokens are
            queries: the others are keys of a cache. All tokens are keys in any case.
        segments: All segments in order, where there are others than `video` and `text`.
    """

    frames: int
    height: int
    width: int
    text_tokens: int = 0
    text_first: bool = False
    text_valid: int | None = None
    query_frames: tuple[int, int] | None = None
    segments: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        self._check_segments()
        for name in SIDES:
            _check_field(self, name, at_least=1)
        _check_field(self, "text_tokens", at_least=0)
        if self.text_valid is None:
            object.__setattr__(self, "text_valid", self.text_tokens)
        _check_field(self, "text_valid", at_least=0)
        if self.real_text > self.text_tokens:
            given = f"{self.text_valid} of {self.text_tokens}"
            raise GridError(f"text_valid must be at most text_tokens, got {given}")
        if self.seq_len > 2**31 - 1:
            raise GridError(f"a sequence has at most 2^31 - 1 tokens, got {self.seq_len:,}")
        if self.query_frames is not None:
            first, last = _numbers(self, "query_frames", 2)
            whole = type(first) is type(last) is int
            if not whole or not 0 <= first <= last < self.frames:
                raise GridError(
                    f"queries are frames from 0 to {self.frames - 1}, the first not after the "
                    f"last, got {first}-{last}"
                )
            if self.q_len == self.seq_len:
                object.__setattr__(self, "query_frames", None)

    def _check_segments(self) -> None:
        """Take the text from the segments, and leave them out where they are no others."""
        if not self.segments:
            return
        by_name = {segment.name: segment for segment in self.segments}
        if len(by_name) < len(self.segments):
            given = ", ".join(segment.name for segment in self.segments)
            raise GridError(f"segments have names of their own, got {given}")
        video, text = by_name.get("video"), by_name.get("text")
        if video is None or video.sides != (self.frames, self.height, self.width):
            raise GridError(
                "one segment is the video, of frames×rows×columns, and is named so; got "
                + (", ".join(by_name) if video is None else f"video={video.label}")
            )
        if text is not None and text.sides:
            raise GridError(f"text is flat tokens, got {text.label}")
        names = list(by_name)
        object.__setattr__(self, "text_tokens", text.tokens if text else 0)
        object.__setattr__(self, "text_valid", text.valid if text else 0)
        first = text is not None and names.index("text") < names.index("video")
        object.__setattr__(self, "text_first", first)
        if by_name.keys() <= {"video", "text"}:
            object.__setattr__(self, "segments", ())

    def __repr__(self) -> str:
        # Fingerprints of tables contain it: it is as it was before there were these fields.
        given = [
            (part.name, getattr(self, part.name))
            for part in fields(self)
            if part.name not in ("query_frames", "segments") or getattr(self, part.name)
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

    @classmethod
    def of(cls, *segments: Segment, query_frames: tuple[int, int] | None = None) -> "TokenGrid":
        """Return the grid of a sequence of segments.

        Args:
            *segments: All segments in order; one is a video named `video`.
            query_frames: Frames of the `video` that are queries, if not all tokens are.

        Raises:
            GridError: Two have one name, none is the video, or the text is not flat.
        """
        sides = next((one.sides for one in segments if one.name == "video"), None)
        return cls(*(sides or (1, 1, 1)), query_frames=query_frames, segments=segments)

    @property
    def layout(self) -> tuple[Segment, ...]:
        """All segments in order, for any grid."""
        if self.segments:
            return self.segments
        video = Segment("video", sides=(self.frames, self.height, self.width))
        if not self.text_tokens:
            return (video,)
        text = Segment("text", self.text_tokens, valid=self.text_valid)
        return (text, video) if self.text_first else (video, text)

    @property
    def starts(self) -> tuple[int, ...]:
        """Position of the first token of each segment."""
        return tuple(accumulate((one.tokens for one in self.layout[:-1]), initial=0))

    def segment_number(self, name: str) -> int:
        """Return the place of a segment in the sequence, from 0; -1 for text where there is none.

        Raises:
            GridError: There is no such segment.
        """
        names = [segment.name for segment in self.layout]
        if name not in names:
            if name == "text":
                return -1
            raise GridError(unknown("segment", name, names))
        return names.index(name)

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
        """Tokens of the whole sequence: video, text and its padding, and all other segments."""
        if self.segments:
            return sum(segment.tokens for segment in self.segments)
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
        if self.segments:
            return self.starts[self.segment_number("video")]
        return self.text_tokens if self.text_first else 0

    @property
    def text_start(self) -> int:
        """Position of the first text token."""
        if self.segments and self.text_tokens:
            return self.starts[self.segment_number("text")]
        return 0 if self.text_first else self.video_tokens

    @property
    def label(self) -> str:
        """The layout as short text: frames×height×width, the text tokens, the query frames.

        With other segments, all by name: `text=226+reference=1x30x45+video=13x30x45+audio=120`.
        """
        return self._format(str(self.frames))

    @property
    def sweep_label(self) -> str:
        """The label with F for the frames: one for all layouts that differ only in frames."""
        return self._format("F")

    def _format(self, frames: str) -> str:
        label = f"{frames}x{self.height}x{self.width}"
        if self.segments:
            sizes = {one.name: one.label for one in self.segments} | {"video": label}
            label = "+".join(f"{name}={size}" for name, size in sizes.items())
        elif self.text_tokens:
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
    from radialbench.maskgen.document import read_document

    data = read_document(PRESETS / f"{name}.yaml").value
    data["vae"], data["patch"] = tuple(data["vae"]), tuple(data["patch"])
    if "clips" in data:
        data["clips"] = tuple(data["clips"])
    data["linear"] = tuple(Linear(*row) for row in data.get("linear", ()))
    data["attention"] = tuple(OtherAttention(*row) for row in data.get("attention", ()))
    return Model(name=name, **data)


def _numbers(owner: object, name: str, count: int) -> tuple[int, ...]:
    """Return a field of several numbers, as a tuple of Python's own."""
    value = getattr(owner, name)
    if not isinstance(value, tuple | list) or len(value) != count:
        raise GridError(f"{name} must be {count} whole numbers, got {str(value)[:40]}")
    object.__setattr__(owner, name, tuple(value))
    numbers: tuple[int, ...] = plain_field(owner, name)
    return numbers


def _check_field(owner: object, name: str, *, at_least: int) -> None:
    if type(getattr(owner, name)) is not int:
        plain_field(owner, name)
    of = f"{owner.name}: " if isinstance(owner, Segment) else ""
    _check_count(of + name, getattr(owner, name), at_least=at_least)


def _check_count(name: str, value: object, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise GridError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
