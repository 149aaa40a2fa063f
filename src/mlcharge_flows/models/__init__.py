"""Models of the converged density: cards, checkpoints, and one folder per architecture."""
