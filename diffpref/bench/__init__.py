"""Measurements of our own speed, against the obvious way and in the same run."""
