"""The procedural preference world: scenes, captions, an exact oracle and synthetic people."""
