"""jobflow Makers that write a start, run from it, count and compare."""
