"""What masks keep and lose of attention: inputs, measuring, the decay law, search."""
