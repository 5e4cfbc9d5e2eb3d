"""What masks keep of attention, not only what they save: fidelity at a cost, and a search.

python keep.py            # under a minute on a CPU; writes into the current folder
"""

from radialbench import TokenGrid, compile_mask
from radialbench.fidelity.decay import measure_decay
from radialbench.fidelity.generator import Generated, mixed
from radialbench.fidelity.measure import measure
from radialbench.kernels.measure.environment import environment
from radialbench.masksearch.search import SearchSettings, search_masks
from radialbench.masksearch.space import read_families

# q, k and v of four heads that decay differently in time and space. Those of a real model come
# from `radialbench capture`, and are opened by radialbench.fidelity.files.open_inputs.
grid = TokenGrid(frames=8, height=12, width=16)
inputs = Generated(grid, mixed(4), head_dim=64)

# How does attention decay with the distance of frames? Radial masks assume that it is exponential.
for number, head in enumerate(measure_decay([inputs]).heads):
    print(f"head {number}: {head.time.best.form} in time, rate {head.time.best.rate:.2f}")

# Mass kept: the share of the softmax on the pairs that the mask leaves. Beside it, the same number
# of blocks chosen as well as possible: what the mask's choice is worth.
masks = ("radial", "svg_spatial", "svg_temporal")
tables = [compile_mask(mask, grid, 64, 64) for mask in masks]
for mask, table, heads in zip(masks, tables, measure(inputs.load(), tables), strict=True):
    kept = sum(head["mask"].kept.mass for head in heads) / len(heads)
    best = sum(head["best"].kept.mass for head in heads) / len(heads)
    share = table.nnz / (table.rows * table.columns)
    print(f"{mask:12} executes {share:5.1%} of the blocks and keeps {kept:.1%}; best {best:.1%}")

# A head each its own mask: the search finds plans that keep most for what they cost.
families = read_families(list(masks), ["sink_frames=0..2"])
settings = SearchSettings(by=["head"], trials=16, rows=64)
found = search_masks(
    *([inputs], families, settings, environment("", device="cpu")),
    storage="journal:trials.journal",
)
for point in found.points:
    print(f"{point.cost:.0%} of the blocks keep {1 - point.loss:.1%} of the mass")
