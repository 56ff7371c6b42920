"""The doors: everything that enters from outside or must survive on disk passes here."""

from diffpref.io.atomic import replace_folder, save_tensors, write_atomic, write_json
from diffpref.io.codes import (
    BadImage,
    BadLine,
    BadPath,
    BadText,
    ImageCode,
    PathCode,
    TextCode,
)
from diffpref.io.images import is_flat, open_image, rgb_image
from diffpref.io.journal import Journal
from diffpref.io.paths import new_path, safe_path
from diffpref.io.png import png_bytes, png_text
from diffpref.io.text import parse_json, read_json, read_jsonl
from diffpref.io.weights import load_weights, safe_load_weights
from diffpref.io.yaml_text import load_yaml, load_yaml_lines

__all__ = [
    "BadImage",
    "BadLine",
    "BadPath",
    "BadText",
    "ImageCode",
    "Journal",
    "PathCode",
    "TextCode",
    "is_flat",
    "load_weights",
    "load_yaml",
    "load_yaml_lines",
    "new_path",
    "open_image",
    "parse_json",
    "png_bytes",
    "png_text",
    "read_json",
    "read_jsonl",
    "replace_folder",
    "rgb_image",
    "safe_load_weights",
    "safe_path",
    "save_tensors",
    "write_atomic",
    "write_json",
]
