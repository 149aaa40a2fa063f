"""Makers, input sets, handlers and power-ups for atomate2's VASP workflows."""
