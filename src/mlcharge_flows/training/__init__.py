"""Data sets of finished runs, and what is learned from them."""
