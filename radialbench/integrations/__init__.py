"""Drop-in attention for pipelines of other libraries."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from radialbench.integrations.pipeline import time_pipeline

__all__ = ["time_pipeline"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'radialbench.integrations' has no attribute {name!r}")
    from radialbench.integrations import pipeline

    return getattr(pipeline, name)
