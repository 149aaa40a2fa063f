"""Many materials, on this machine or through a workflow manager."""
