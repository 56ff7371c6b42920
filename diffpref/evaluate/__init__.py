"""What a run is worth: seed-matched win rates, implicit accuracy, image grids and the report."""
