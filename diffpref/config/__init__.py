"""A run, spelled out: the schema of its YAML file, and reading it with every mistake named."""

from diffpref.config.read import dump_config, load_config, parse_config
from diffpref.config.schema import RunConfig

__all__ = ["RunConfig", "dump_config", "load_config", "parse_config"]
