"""The parts of scripts/people_card.py."""
