"""The physics of a charge density on a grid: no files and no frameworks."""
