"""Attention on block tables: backends, and how they are checked and timed."""
