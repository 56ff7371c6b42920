"""`python -m diffpref` and `accelerate launch -m diffpref` are the command `diffpref`."""

import sys

from diffpref.cli import main

if __name__ == "__main__":
    sys.exit(main())
