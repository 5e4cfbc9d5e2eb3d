"""Device code of our own kernels, and what launches it."""
