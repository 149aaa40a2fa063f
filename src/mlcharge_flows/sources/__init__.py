"""Sources of initial densities, and the file that hands one to a run."""
