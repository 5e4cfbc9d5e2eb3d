"""Figures of the radial attention paper (arXiv 2506.19852v2, tables 1 and 2) for its videos."""

from dataclasses import dataclass

from radialbench.maskgen.grid import Model, TokenGrid, load_model
from radialbench.maskgen.language.spec import MaskSpec
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.work import Schedule

PAPER = "arXiv 2506.19852v2"


@dataclass(frozen=True, slots=True)
class PaperFigures:
    """The paper's figures for a video; None where it has none.

    Attributes:
        dense_pflop: Operations of a video with dense attention, in 10¹⁵.
        pflop: The same with radial attention.
        sparsity: Share of attention that is left out.
        speedup: Speed-up of the whole video over dense attention on FA2.
        seconds: Time of the video with dense and with radial attention.
        gpus: Number of H100s.
        saved: Attention without the mask over attention with it.
    """

    dense_pflop: float | None = None
    pflop: float | None = None
    sparsity: float | None = None
    speedup: float | None = None
    seconds: tuple[float, float] | None = None
    gpus: int = 1
    saved: float | None = None


@dataclass(frozen=True, slots=True)
class Video:
    """A video of the paper.

    Attributes:
        model: Preset of the model.
        size: Pixels and frames.
        length: How many times the model's default length.
        masks: Variants of the authors' block mask by their labels in the suite `paper`, the one to
            compare first.
        decay: Decay of the masks.
        schedule: Which calls stay dense, by the authors' scripts.
        claim: The paper's figures.
    """

    model: str
    size: str
    length: int
    masks: tuple[tuple[str, str], ...]
    decay: float
    schedule: Schedule
    claim: PaperFigures

    @property
    def preset(self) -> Model:
        """The model."""
        return load_model(self.model)

    @property
    def grid(self) -> TokenGrid:
        """Its tokens."""
        return self.preset.grid(self.size)

    @property
    def group(self) -> str:
        """Group of this video's cases in the suite `paper`."""
        model = self.preset
        return f"{self.model}/{self.grid.label}/h{model.heads}d{model.head_dim}bf16"

    @property
    def title(self) -> str:
        """Model, length and frames for people."""
        return f"{self.preset.title}, {self.length}×: {self.size.rpartition('x')[2]} frames"

    def mask(self, variant: str) -> MaskSpec:
        """Return a variant of the mask by its label."""
        return load_mask(dict(self.masks)[variant], decay=self.decay, empty_rows="own_block")


RELEASED, FIRST = "radial_blocks", "radial_blocks_first"
"""The authors' code as it is now, and as it first was, whose sparsity the paper's is."""

_HUNYUAN = ((RELEASED, "radial_blocks:hunyuan"), (FIRST, "radial_blocks:hunyuan_first"))
_WAN = ((RELEASED, "radial_blocks:wan"), (FIRST, "radial_blocks:wan_first"))
# The authors' code has no Mochi: of its two rules HunyuanVideo's first one comes near the paper.
_MOCHI = ((FIRST, "radial_blocks:hunyuan_first"),)

VIDEOS = (
    Video(
        *("hunyuanvideo", "1280x768x117", 1, _HUNYUAN, 0.95, Schedule(50, 12, 0)),
        PaperFigures(dense_pflop=612, pflop=339, speedup=1.88, seconds=(1649, 876)),
    ),
    Video(
        *("wan2.1-14b", "1280x768x69", 1, _WAN, 0.2, Schedule(50, 12, 1)),
        PaperFigures(dense_pflop=560, pflop=323, speedup=1.77, seconds=(1630, 917)),
    ),
    Video("mochi-1", "848x480x163", 1, _MOCHI, 1.0, Schedule(64, 12, 0), PaperFigures(gpus=8)),
    Video(
        *("hunyuanvideo", "1280x720x253", 2, _HUNYUAN, 1.0, Schedule(50, 2, 2)),
        PaperFigures(sparsity=0.808, speedup=2.35, seconds=(797, 339), gpus=8),
    ),
    Video(
        *("wan2.1-14b", "1280x720x161", 2, _WAN, 1.0, Schedule(50, 2, 2)),
        PaperFigures(sparsity=0.736, speedup=2.01, seconds=(5735, 2847)),
    ),
    Video(
        *("mochi-1", "848x480x331", 2, _MOCHI, 1.0, Schedule(64, 2, 2)),
        PaperFigures(sparsity=0.764, speedup=1.63, seconds=(302, 185), gpus=8),
    ),
    Video(
        *("hunyuanvideo", "1280x720x509", 4, _HUNYUAN, 1.0, Schedule(50, 2, 2)),
        PaperFigures(sparsity=0.883, speedup=3.71, seconds=(2895, 781), gpus=8, saved=9),
    ),
    Video("wan2.1-14b", "1280x720x321", 4, _WAN, 1.0, Schedule(50, 2, 2), PaperFigures()),
    Video(
        *("mochi-1", "848x480x667", 4, _MOCHI, 1.0, Schedule(64, 2, 2)),
        PaperFigures(sparsity=0.855, speedup=2.57, seconds=(992, 386), gpus=8),
    ),
)
