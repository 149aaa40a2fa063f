"""Models that predict complete starts: cards, checkpoints, and one folder per architecture."""
