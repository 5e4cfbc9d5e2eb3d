"""Kernels compiled without a GPU: their figures, and what launches find on the disk."""
