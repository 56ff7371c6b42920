"""How well a network explains each row of a point."""

from diffpref.likelihoods.latent import latent_loglik as latent_loglik
from diffpref.likelihoods.latent import latent_residual as latent_residual
from diffpref.likelihoods.latent import residual_loglik as residual_loglik
