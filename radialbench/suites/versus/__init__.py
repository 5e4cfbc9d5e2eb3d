"""Versions of the code compared: each in a tree of its own, by machine code and in rounds."""
