"""Complete electronic starts for atomate2 VASP workflows, and an account of what they saved."""

from importlib.metadata import version

__version__ = version("mlcharge-flows")
