"""The rating page: two pictures side by side, a click, and a journal line on the disk."""
