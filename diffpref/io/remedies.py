"""What to do about everything a door refuses: one action per code."""

from collections.abc import Mapping

from diffpref.io.codes import ImageCode, PathCode, TextCode

REMEDIES: Mapping[ImageCode | TextCode | PathCode, str] = {
    ImageCode.MISSING: "correct the path, or put the file back",
    ImageCode.NOT_A_FILE: "name a picture file",
    ImageCode.UNREADABLE: "give yourself the right to read it",
    ImageCode.EMPTY: "copy or download the file again",
    ImageCode.TOO_MANY_BYTES: "save it smaller, at most 256 MiB",
    ImageCode.FORMAT: "save it as PNG, JPEG or WEBP",
    ImageCode.TOO_MANY_PIXELS: "make it smaller, at most 64 megapixels",
    ImageCode.TOO_LARGE: "make it smaller, at most 16384 pixels a side",
    ImageCode.TOO_SMALL: "use a larger picture, or a smaller data.resolution",
    ImageCode.TRUNCATED: "copy or download the file again",
    ImageCode.BROKEN: "copy it again, or save it again from its source",
    ImageCode.ANIMATED: "save the frame that was judged as a picture",
    ImageCode.RANGE: "rescale floats to [0, 1], integers to 0..65535",
    TextCode.NOT_UTF8: "save the file as UTF-8",
    TextCode.NOT_JSON: "write one JSON value a line; look for quotes and commas",
    TextCode.NOT_OBJECT: 'write a line as {"prompt": ..., "images": ..., "scores": ...}',
    TextCode.DUPLICATE_KEY: "keep one of the two",
    TextCode.NON_FINITE: "write a finite number, or leave the row out",
    TextCode.NUMBER: "write the number shorter",
    TextCode.TOO_DEEP: "write the row flat, as the schema has it",
    TextCode.TOO_LONG: "split it; pictures belong into files of their own",
    TextCode.SURROGATE: "write the character whole, or drop it",
    TextCode.TABLE: "write one header line, then as many cells a line",
    PathCode.EMPTY: "write the file's path, relative to the data's folder",
    PathCode.CHARACTER: "rename the file; write paths with forward slashes",
    PathCode.ABSOLUTE: "write the path relative to the data's folder",
    PathCode.REMOTE: "download the file and write its local path",
    PathCode.PARENT: "move the file into the data's folder",
    PathCode.RESERVED: "rename the file",
    PathCode.TOO_LONG: "shorten the path",
    PathCode.MISSING: "correct the path, or put the file back",
    PathCode.OUTSIDE: "copy the file into the data's folder",
    PathCode.NOT_A_FILE: "name a file",
}
