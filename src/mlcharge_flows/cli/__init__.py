"""Subcommands of ``mlcharge``; heavy libraries are imported when a command runs, not before."""
