"""The mask language: expressions, masks and head plans, and the YAML files they are written in."""
