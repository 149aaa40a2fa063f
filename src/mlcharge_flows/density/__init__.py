"""The physics of a charge density on a grid: no files, no frameworks, numpy and scipy only."""
