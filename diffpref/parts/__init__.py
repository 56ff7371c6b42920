"""Parts by name: what the configuration's `parts:` may put in place of a method's own."""

from diffpref.parts.building import with_parts
from diffpref.parts.checking import checked, parameters
from diffpref.parts.table import ALSO_KNOWN_AS, OF_STEPS, PARTS, Spec

__all__ = ["ALSO_KNOWN_AS", "OF_STEPS", "PARTS", "Spec", "checked", "parameters", "with_parts"]
