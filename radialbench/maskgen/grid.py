"""Token grids: how the tokens of a video, and of the text beside it, are laid out."""

from dataclasses import dataclass

from radialbench.errors import GridError


@dataclass(frozen=True, slots=True)
class TokenGrid:
    """A video of latent tokens and the text tokens of its joint sequence.

    In raster order the sequence is `[video | text]` (`[text | video]` with `text_first`); video
    token (t, y, x) stands at place `s = y·width + x` of frame t. Of the text tokens the first
    `text_valid` are real, the rest is padding.

    Attributes:
        frames: Latent frames, ≥ 1.
        height: Token rows of a frame, ≥ 1.
        width: Token columns of a frame, ≥ 1.
        text_tokens: Text slots in the joint sequence, ≥ 0; cross-attended text does not count.
        text_first: Whether the text stands before the video.
        text_valid: Real text tokens; all of them if not given.
    """

    frames: int
    height: int
    width: int
    text_tokens: int = 0
    text_first: bool = False
    text_valid: int | None = None

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            _check_count(name, getattr(self, name), at_least=1)
        _check_count("text_tokens", self.text_tokens, at_least=0)
        if self.text_valid is None:
            object.__setattr__(self, "text_valid", self.text_tokens)
        _check_count("text_valid", self.text_valid, at_least=0)
        if self.real_text > self.text_tokens:
            raise GridError(
                f"text_valid must be at most text_tokens, got {self.text_valid} of "
                f"{self.text_tokens}"
            )
        if self.seq_len > 2**31 - 1:
            raise GridError(f"a sequence has at most 2^31 - 1 tokens, got {self.seq_len:,}")

    @classmethod
    def for_model(cls, model: str, size: str) -> "TokenGrid":
        """Lay out a video of a known model.

        Args:
            model: A preset's name, such as `wan2.1-14b`.
            size: Pixels and frames as width×height×frames, such as `1280x720x81`.

        Raises:
            GridError: The model is unknown, or its VAE and patches do not divide the size; the
                message names the neighbouring sizes that work.
        """
        from radialbench.maskgen.models import load_model

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
        """The layout in a few characters: frames×height×width, then the text."""
        return self._written(str(self.frames))

    @property
    def sweep_label(self) -> str:
        """The label of all layouts that differ in their frames alone: an F stands for them."""
        return self._written("F")

    def _written(self, frames: str) -> str:
        video = f"{frames}x{self.height}x{self.width}"
        if not self.text_tokens:
            return video
        text = f"{self.text_tokens}"
        if self.real_text != self.text_tokens:
            text = f"{self.real_text}of{self.text_tokens}"
        return f"{text}+{video}" if self.text_first else f"{video}+{text}"


def _check_count(name: str, value: object, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise GridError(f"{name} must be a whole number of at least {at_least}, got {value!r}")
