"""Rewards of noisy latents: what x_t is worth at t for a prompt, without sampling on.

head        what is learned: weights that follow t
latent      pooled features of the frozen base (LPO's latent reward model)
step_aware  a one-step clean prediction, decoded and embedded (SPO's step-aware model)
reward      both as a `Reward` with `noisy = True`
"""

NOISY = "noisy:"
"""Before a folder of `train-reward` in `reward.scorer`."""

KINDS = ("latent", "step-aware")
