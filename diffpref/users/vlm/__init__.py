"""The `vlm` user encoder: what a vision-language model makes of a person's choices."""
