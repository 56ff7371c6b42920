"""Stable Cascade (2306.00637): stage C is trained, its encoder and stage B are frozen."""
