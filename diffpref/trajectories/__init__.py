"""Where x_t comes from, given clean latents and a step."""

from diffpref.trajectories.forward import forward as forward
