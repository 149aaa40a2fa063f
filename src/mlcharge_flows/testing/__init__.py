"""Support for tests of this package and of packages built on it.

- :mod:`~mlcharge_flows.testing.fake_vasp`: an executable in VASP's place;
- :mod:`~mlcharge_flows.testing.tiny_model`: a model whose prediction is known in closed form;
- :mod:`~mlcharge_flows.testing.crystals`: crystals without symmetry, rotations;
- :mod:`~mlcharge_flows.testing.laws`: charge conservation and equivariance of a predicted density,
  and named tolerances.
"""
