"""A run's result in the layouts other programs open, with a card that says what it is."""
