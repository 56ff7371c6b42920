"""How well a network explains a point."""

from diffpref.likelihoods.latent import latent_loglik as latent_loglik
from diffpref.likelihoods.latent import latent_residual as latent_residual
from diffpref.likelihoods.perceptual import perceptual as perceptual
from diffpref.likelihoods.squared_error import SquaredError as SquaredError
