"""What methods cost, each counted once."""

from functools import cache

from diffpref import cost as counting

cost = cache(counting.cost)
