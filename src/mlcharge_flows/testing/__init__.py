"""Support for tests of this package and of packages built on it."""
