"""How measured rows are compared, by what they learn from."""

from diffpref.losses.likelihood import likelihood as likelihood
from diffpref.losses.linear import linear as linear
from diffpref.losses.lists import lambda_rank as lambda_rank
from diffpref.losses.lists import plackett_luce as plackett_luce
from diffpref.losses.pair import PairLoss as PairLoss
from diffpref.losses.pair import alpha_divergence as alpha_divergence
from diffpref.losses.pair import brier as brier
from diffpref.losses.pair import cross_entropy as cross_entropy
from diffpref.losses.pair import exo as exo
from diffpref.losses.pair import gap as gap
from diffpref.losses.pair import hinge as hinge
from diffpref.losses.pair import lean as lean
from diffpref.losses.pair import log_ratio as log_ratio
from diffpref.losses.pair import logistic as logistic
from diffpref.losses.pair import robust as robust
from diffpref.losses.pair import squared as squared
from diffpref.losses.reference_free import margin_aware as margin_aware
from diffpref.losses.reference_free import odds_ratio as odds_ratio
from diffpref.losses.score_matching import score_matching as score_matching
from diffpref.losses.unpaired import kto as kto
