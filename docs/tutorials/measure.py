"""Measure masks beside dense attention, read the results, and check a second run against the first.

python measure.py         # under a minute on two cores; writes into the current folder
"""

import subprocess
import sys
from pathlib import Path

from radialbench import load_summary

# What to measure is data: masks × grids × backends. Before a kernel is timed, its result is
# compared with the definition of attention in float64, on the very tensors that are timed.
Path("mine.yaml").write_text(
    """\
name: mine
device: cpu
protocol: {min_samples: 6, max_samples: 6, min_seconds: 0, max_seconds: 2}
cases:
  - masks: [radial, sta]
    grids: [{frames: [3, 6], height: 15, width: 26}]
    heads: 1
    head_dim: 64
    dtype: float32
    backends: [cpu]
  - masks: [dense]
    grids: [{frames: [3, 6], height: 15, width: 26}]
    heads: 1
    head_dim: 64
    dtype: float32
    backends: [sdpa]
"""
)


def radialbench(*words: str) -> int:
    """Run a verb as in a shell; the code is 0 if done, 1 if something failed, 2 for bad input."""
    print("\n$ radialbench", *words, flush=True)
    return subprocess.run([sys.executable, "-m", "radialbench", *words], check=False).returncode


# Cases that share a shape are sampled in turn, so that a change of the clock meets all of them.
for run in ("before", "now"):
    assert radialbench("run", "mine.yaml", "-o", run) == 0

# Every sample is in now/results.jsonl; a DataFrame has a row per case, with intervals.
frame = load_summary("now").frame()
columns = ["mask", "backend", "tokens", "latency_ms", "speedup", "speedup_low", "speedup_high"]
print(frame.loc[frame.status == "ok", columns].round(3).to_string(index=False))

# Tables, charts and a page that needs no other file. At lengths this short a mask need not pay.
assert radialbench("report", "now") == 0

# The code did not change, so nothing should have regressed. With samples as few as these, a check
# may also say that it cannot tell (3): it never passes what it did not see.
verdict = radialbench("check", "now", "--baseline", "before", "--noise-floor", "10")
print({0: "passed", 1: "a regression: look at what else ran", 3: "inconclusive"}[verdict])
