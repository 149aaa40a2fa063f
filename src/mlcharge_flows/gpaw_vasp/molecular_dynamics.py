"""Molecular dynamics (IBRION = 0) with ASE's integrators and thermostats.

References
----------
VASP wiki, MDALGO, SMASS, TEBEG and POTIM.
G. J. Martyna, M. L. Klein and M. Tuckerman, J. Chem. Phys. 97, 2635 (1992), for Nose-Hoover.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.md.andersen import Andersen
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.units import fs, kB

from mlcharge_flows.gpaw_vasp.result import Motion

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mlcharge_flows.gpaw_vasp.inputs import Inputs

#: Period of the Nose-Hoover thermostat with SMASS = 0, in time steps.
NOSE_PERIOD = 40

#: Seed of the first velocities and of random thermostats: a run can be repeated.
SEED = 0


class Dynamics:
    """Newton's equations of the ions of a run.

    Without velocities in the POSCAR they begin with those of TEBEG, without drift.

    Parameters
    ----------
    atoms
        The ions, with a calculator and constraints.
    inputs
        What the run folder asks for.
    """

    def __init__(self, atoms: Atoms, inputs: Inputs) -> None:
        self.atoms = atoms
        self.settings = inputs.ionic
        counts = [count for _, count in inputs.crystal.species]
        masses = self.settings.pomass or [data.mass or 0.0 for data in inputs.datasets]
        atoms.set_masses(np.repeat(np.asarray(masses), counts))
        generator = np.random.RandomState(SEED)
        if inputs.velocities is not None and np.any(inputs.velocities):
            atoms.set_velocities(inputs.velocities / fs)
        else:
            self._thermalize(generator)
        self.integrator = self._integrator(counts, generator)

    def run(self, report: Callable[[Motion], None]) -> None:
        """Take NSW steps.

        Parameters
        ----------
        report
            Called after each step, when positions and velocities belong to the same time.
        """
        self.atoms.get_forces()
        self.integrator.attach(lambda: report(self.motion))
        self.integrator.run(self.settings.nsw - 1)

    @property
    def motion(self) -> Motion:
        """Motion of the ions at the present time."""
        kinetic = float(self.atoms.get_kinetic_energy())
        thermostat = 0.0
        if isinstance(self.integrator, NoseHooverChainNVT):
            conserved = self.integrator.get_conserved_energy()
            thermostat = float(conserved - kinetic - self.atoms.get_potential_energy())
        return Motion(kinetic, self._temperature, thermostat)

    @property
    def _temperature(self) -> float:
        """Kinetic temperature in K; the center of mass does not move."""
        freedom = self.atoms.get_number_of_degrees_of_freedom()
        if not self.atoms.constraints and len(self.atoms) > 1:
            freedom -= 3
        return float(2 * self.atoms.get_kinetic_energy() / (max(freedom, 1) * kB))

    def _thermalize(self, generator: np.random.RandomState) -> None:
        """Draw velocities of TEBEG from Maxwell's distribution."""
        atoms, kelvin = self.atoms, self.settings.tebeg
        spread = np.sqrt(atoms.get_masses() * kB * kelvin)[:, None]
        atoms.set_momenta(generator.standard_normal((len(atoms), 3)) * spread)
        if len(atoms) > 1 and not atoms.constraints:
            Stationary(atoms)
        if (drawn := self._temperature) > 0:
            atoms.set_momenta(atoms.get_momenta() * np.sqrt(kelvin / drawn))

    def _integrator(self, counts: list[int], generator: np.random.RandomState) -> Any:
        """Integrator of ASE for the thermostat of the run."""
        settings = self.settings
        step = settings.potim * fs
        kelvin = settings.tebeg
        match settings.thermostat:
            case "Andersen":
                return Andersen(self.atoms, step, kelvin, settings.andersen_prob, rng=generator)
            case "Langevin":
                friction = np.repeat(settings.langevin_gamma, counts)[:, None] / (1000 * fs)
                options: dict[str, Any] = {"friction": friction, "rng": generator}
                return Langevin(self.atoms, step, temperature_K=kelvin, **options)
            case "Bussi":
                return Bussi(
                    self.atoms,
                    step,
                    temperature_K=kelvin,
                    taut=settings.csvr_period * fs,
                    rng=generator,
                )
            case "Nose-Hoover":
                return NoseHooverChainNVT(
                    self.atoms, step, temperature_K=kelvin, tdamp=NOSE_PERIOD * step
                )
            case _:
                return VelocityVerlet(self.atoms, step)
