"""Input sets of the compared runs."""
