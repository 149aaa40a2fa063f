"""VASP's files: read and written as VASP itself does."""
