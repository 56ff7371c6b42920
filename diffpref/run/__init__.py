"""From a configuration to a trained run: assembly, preflight, validation, export."""
