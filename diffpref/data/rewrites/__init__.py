"""Best-of-n prompt rewriting: candidates of a file, their scores, and which one to use."""

from diffpref.data.rewrites.choose import Rule
from diffpref.data.rewrites.judges import INSTRUCTION, ImageJudge, TextJudge
from diffpref.data.rewrites.table import RewriteTable, best_prompts, make_rewrites

__all__ = [
    "INSTRUCTION",
    "ImageJudge",
    "RewriteTable",
    "Rule",
    "TextJudge",
    "best_prompts",
    "make_rewrites",
]
