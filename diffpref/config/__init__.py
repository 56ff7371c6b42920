"""A run, spelled out: the schema of its YAML file, reading it, and checking that it fits together."""

from diffpref.config.read import dump_config, load_config, parse_config
from diffpref.config.schema import RunConfig

__all__ = ["RunConfig", "dump_config", "load_config", "parse_config"]
