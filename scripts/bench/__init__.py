"""Our training step beside the released script's, in one process."""
