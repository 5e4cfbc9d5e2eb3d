"""Drop-in attention for pipelines of other libraries."""
