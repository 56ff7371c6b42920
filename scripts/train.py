"""What `accelerate launch` starts: the same as `diffpref train`."""

import sys

from diffpref.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
