"""Flows that compose the jobs: one small flow per material."""
