"""Suites: what to measure as a YAML file, the cases it plans, and running them."""
