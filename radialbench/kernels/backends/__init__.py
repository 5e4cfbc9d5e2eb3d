"""One backend a file; the table that lists them is `radialbench.kernels.backend.BACKENDS`."""
