"""`train-reward --head latent | step-aware`: rewards of noisy latents, from votes to a folder."""
