"""Where our count of a video's work differs from the paper's, and what is known of why."""

from radialbench.maskgen.compiler.compile import compile_mask
from radialbench.maskgen.library import load_mask
from radialbench.maskgen.work import call_work
from radialbench.reports.claims import FIRST, RELEASED, VIDEOS, Video
from radialbench.reports.numbers import share
from radialbench.reports.paper import PETA, dense_pflop, pflop, sparsity_for, table_of

BY_NAME = {(video.model, video.length): video for video in VIDEOS}
HUNYUAN = BY_NAME["hunyuanvideo", 1]
WAN = BY_NAME["wan2.1-14b", 1]


def reasons() -> str:
    """Say them as a list; every figure is computed or the paper's."""
    told = (_wan_dense(), _hunyuan_dense(), _hunyuan_saved(), _wan_saved(), _sparsities(), _nine())
    return "\n".join(f"- {' '.join(lines)}" for lines in told)


def claimed(video: Video) -> tuple[float, float]:
    """The paper's operations of a video with dense attention, and what radial saves of them."""
    dense, radial = video.claim.dense_pflop, video.claim.pflop
    assert dense is not None
    assert radial is not None
    return dense, dense - radial


def _saved(video: Video, mask: str) -> float:
    return dense_pflop(video) - pflop(video, mask, visited=True)


def _sparsity(video: Video, mask: str) -> str:
    return share(1 - table_of(video, mask).block_density)


def _wan_dense() -> tuple[str, ...]:
    own, (dense, _) = dense_pflop(WAN), claimed(WAN)
    model, work = WAN.preset, call_work(WAN.preset, WAN.grid)
    bare = WAN.schedule.steps * model.calls * (work.total - work.other) / PETA
    return (
        f"**Wan, dense: {own:.1f} against {dense:.0f}.**",
        "The same, and it settles how the paper counts: two operations a multiply-add,",
        f"{WAN.schedule.steps} steps, two calls a step (with the prompt and without), the",
        f"transformer alone. One call a step would be {own / model.calls:.1f}; without the scores",
        f"of cross-attention it is {bare:.1f}.",
    )


def _hunyuan_dense() -> tuple[str, ...]:
    own, (dense, _) = dense_pflop(HUNYUAN), claimed(HUNYUAN)
    grid = HUNYUAN.grid
    return (
        f"**HunyuanVideo, dense: {own:.1f} against {dense:.0f}.**",
        f"The paper has {dense - own:.1f} more than what is counted as for Wan, with one call a",
        f"step, since guidance is an input. The text is {grid.text_tokens} of {grid.seq_len:,}",
        "tokens: no way of counting it makes up for that. The paper does not say what else it",
        "counts.",
    )


def _hunyuan_saved() -> tuple[str, ...]:
    own, first = (_saved(HUNYUAN, mask) for mask in (RELEASED, FIRST))
    _, saved = claimed(HUNYUAN)
    none, one = (share(sparsity_for(HUNYUAN, saved, dense_layers=count)) for count in (0, 1))
    return (
        f"**HunyuanVideo, saved: {own:.1f} against {saved:.0f}.**",
        "Nearly the same, so what the paper counts besides is in both of its columns, and no",
        f"self-attention. To save exactly as much the sparse layers would be {none} sparse ({one}",
        "with the first layer dense, as the paper's text has it and the authors' script has not);",
        f"the released mask is {_sparsity(HUNYUAN, RELEASED)}. The first release's saves",
        f"{first:.1f}.",
    )


def _wan_saved() -> tuple[str, ...]:
    own, first = (_saved(WAN, mask) for mask in (RELEASED, FIRST))
    _, saved = claimed(WAN)
    needed = share(sparsity_for(WAN, saved, dense_layers=WAN.schedule.dense_layers))
    blocks, pairs = (_without_sink(name) for name in ("radial_blocks", "radial_published"))
    return (
        f"**Wan, saved: {own:.1f} against {saved:.0f}.**",
        f"With {WAN.schedule.dense_steps} dense steps and the first layer dense that takes a",
        f"sparsity of {needed}. The authors' mask at their script's decay of {WAN.decay:g} has",
        f"{_sparsity(WAN, RELEASED)}, in its first release {_sparsity(WAN, FIRST)}",
        f"({first:.1f} saved). Without the attention sink the latter has {blocks}, and {pairs}",
        "where pairs are counted before they are rounded to blocks: the paper's figure is of",
        "something sparser still, and which mask or decay that is was not published.",
    )


def _without_sink(name: str) -> str:
    mask = load_mask(f"{name}:wan_first", decay=WAN.decay, sink_frames=0, empty_rows="own_block")
    return share(1 - compile_mask(mask, WAN.grid).density)


def _sparsities() -> tuple[str, ...]:
    twice, fourfold = BY_NAME["hunyuanvideo", 2], BY_NAME["hunyuanvideo", 4]
    wan = BY_NAME["wan2.1-14b", 2]
    return (
        "**Sparsity.** For HunyuanVideo the paper's figures are those of the code's first release,",
        f"whose mask still had the sink: {_sparsity(twice, FIRST)} and",
        f"{_sparsity(fourfold, FIRST)}. For Mochi, whose code was never released, the same rule",
        f"comes within half a point. Wan at 2× has {_sparsity(wan, RELEASED)} (released) or",
        f"{_sparsity(wan, FIRST)} (first), against {share(wan.claim.sparsity or 0)}, for which no",
        "reason was found.",
    )


def _nine() -> tuple[str, ...]:
    video = BY_NAME["hunyuanvideo", 4]
    released, first = (1 / table_of(video, mask).block_density for mask in (RELEASED, FIRST))
    schedule = video.schedule
    return (
        "**9× less attention at 509 frames** is of the released mask,",
        f"{released:.1f}×; the first release's, whose sparsity the paper gives, makes it",
        f"{first:.1f}×. It is of a sparse layer in a sparse step: {schedule.dense_steps} steps and",
        f"{schedule.dense_layers} layers stay dense.",
    )
