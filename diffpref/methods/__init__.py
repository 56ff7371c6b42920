"""One file per paper, and the table of their names."""

from collections.abc import Mapping

from diffpref.methods import diffusion_dpo, sft
from diffpref.papers import Method

METHODS: Mapping[str, Method] = {
    "diffusion_dpo": diffusion_dpo.METHOD,
    "sft": sft.METHOD,
}
