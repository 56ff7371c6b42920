"""Pages of docs/ that are written by a program, so that they cannot say what the code does not."""
