"""Masks over video tokens: the language, its library, and the compiler to block tables."""
