"""What several forms share: names of files, and facts of a record."""

import re
from dataclasses import asdict, astuple
from typing import Any

from radialbench.records.tuning import TuningRecord


def file_word(text: str) -> str:
    """Make a part of a file's name of any text."""
    return re.sub(r"[^A-Za-z0-9_.()@+-]+", "_", text)


def measured(record: TuningRecord) -> dict[str, Any]:
    """Give what was measured of a configuration, and where that holds.

    Times and ratios are a median and both ends of its interval.
    """
    return {
        "source": record.source,
        "ms": astuple(record.ms),
        "default_ms": astuple(record.default_ms),
        "ratio": astuple(record.ratio),
        "kernel": record.kernel,
        "versions": record.versions,
    }


def config_of(record: TuningRecord) -> dict[str, int]:
    """Give a configuration, without what it leaves open."""
    return {name: value for name, value in asdict(record.config).items() if value is not None}


def of_what(record: TuningRecord) -> str:
    """Say what a configuration is of, in one line whatever the record holds."""
    key, ratio = record.key, record.ratio
    video = f"{key.frames} × {key.tokens_per_frame:,} tokens"
    heads = f"{key.batch} × {key.heads} heads of {key.head_dim}"
    gain = "the default: nothing was surely faster"
    if record.source == "tuned":
        gain = f"{ratio.median:.3f} times as fast as the default"
    text = f"{record.mask.label}, {video}, {heads}, {key.dtype}, {key.device}: {gain}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)
