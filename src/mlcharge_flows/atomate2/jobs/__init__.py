"""Jobs: write an initial density, run from it, count, compare."""
