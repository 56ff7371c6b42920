"""How measured rows are compared, by what they learn from."""

from diffpref.losses.likelihood import likelihood as likelihood
from diffpref.losses.pair import PairLoss as PairLoss
from diffpref.losses.pair import cross_entropy as cross_entropy
from diffpref.losses.pair import exo as exo
from diffpref.losses.pair import gap as gap
from diffpref.losses.pair import hinge as hinge
from diffpref.losses.pair import lean as lean
from diffpref.losses.pair import log_ratio as log_ratio
from diffpref.losses.pair import logistic as logistic
from diffpref.losses.pair import robust as robust
from diffpref.losses.pair import squared as squared
