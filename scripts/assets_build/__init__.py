"""Stages of scripts/build_assets.py; each resumes from its own checkpoint."""
