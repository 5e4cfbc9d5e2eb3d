"""Search for masks that keep much of the attention and cost little."""
