"""The loop over geometries: ASE moves the ions, the Kohn-Sham equations give energies and forces.

References
----------
VASP wiki, NSW, IBRION, ISIF and EDIFFG.
A. H. Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017), for ASE.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms, FixScaled
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.optimize.sciopt import OptimizerConvergenceError, SciPyFminCG
from ase.spacegroup.symmetrize import symmetrize_rank1, symmetrize_rank2
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import fs
from typing_extensions import override

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.inputs import MIN_DISTANCE
from mlcharge_flows.gpaw_vasp.kohn_sham import atoms_of
from mlcharge_flows.gpaw_vasp.molecular_dynamics import Dynamics
from mlcharge_flows.gpaw_vasp.result import EV_PER_A3_IN_KB, IonicStep
from mlcharge_flows.gpaw_vasp.symmetry import space_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
    from mlcharge_flows.gpaw_vasp.result import ElectronicStep, Motion

#: Curvature that an optimizer assumes at first with POTIM = 0.5, in eV/angstrom^2: ASE's default.
#: The first step is the force divided by it; like VASP's, it grows with the square of POTIM.
CURVATURE = 70.0
DEFAULT_POTIM = 0.5

#: A step that changes the volume by more than this factor is a mistake of the optimizer, as is one
#: that puts ions onto each other.
MAX_VOLUME_RATIO = 2.0


class IonicLoop:
    """Ground states of one geometry after another, until EDIFFG is met or NSW is reached.

    Parameters
    ----------
    solver
        The first geometry, with its initial density and orbitals.
    compute
        Takes the electronic steps of the solver's geometry, given the number of steps that keep
        the density (None: |NELMDL|) and the free energy of the geometry before, in eV.
    report
        Called with each ionic step when it is complete.

    Attributes
    ----------
    path
        The ionic steps so far.
    relaxed
        Whether the stop rule of the ions was met.
    """

    def __init__(
        self,
        solver: KohnSham,
        compute: Callable[[int | None, float], Sequence[ElectronicStep]],
        report: Callable[[IonicStep], None],
    ) -> None:
        self.solver = solver
        self.settings = solver.inputs.ionic
        self.first = solver.inputs.crystal
        self.path: list[IonicStep] = []
        self.relaxed = False
        self._compute = compute
        self._report = report
        self._atoms = atoms_of(self.first)
        self._atoms.calc = _Surface(self)
        self._target: Atoms | FrechetCellFilter = self._atoms
        self._reference = 0.0
        self._end_of_line: float | None = None
        inputs = solver.inputs
        symmetry = space_group(
            self.first,
            inputs.settings.isym,
            inputs.settings.symprec,
            inputs.kpoints,
            inputs.kinds,
        )
        self._rotations, self._translations = symmetry.rotations, symmetry.translations
        images = np.einsum("sij,aj->sai", self._rotations, self.first.positions)
        apart = (images + self._translations[:, None])[:, :, None] - self.first.positions
        apart = (apart - apart.round()) @ self.first.lattice
        self._images = np.linalg.norm(apart, axis=-1).argmin(-1)

    def run(self) -> None:
        """Relax the crystal, or follow its dynamics.

        Raises
        ------
        UnsupportedInputError
            If a step leads to a geometry that cannot be computed.
        """
        constrain(self._atoms, self.solver.inputs.selective_dynamics)
        try:
            if self.settings.dynamics:
                Dynamics(self._atoms, self.solver.inputs).run(self._complete_motion)
            else:
                self._relax()
        except _Finished as finished:
            self.relaxed = finished.relaxed

    @property
    def velocities(self) -> np.ndarray | None:
        """Velocities at the end of molecular dynamics, in angstrom/fs; None in a relaxation."""
        if not self.settings.dynamics:
            return None
        return np.asarray(self._atoms.get_velocities() * fs)

    def evaluate(self, atoms: Atoms) -> IonicStep:
        """Compute the ground state, forces and stress of a geometry.

        Parameters
        ----------
        atoms
            The ions where the optimizer puts them.

        Returns
        -------
        IonicStep
            What was computed, the last entry of the path.

        Raises
        ------
        UnsupportedInputError
            If the step is unreasonable.
        _Finished
            If NSW geometries were computed before.
        """
        if len(self.path) == self.settings.nsw:
            raise _Finished(relaxed=False)
        begin = time.perf_counter()
        delay, previous = None, 0.0
        if self.path:
            crystal = replace(
                self.first,
                lattice=np.array(atoms.cell),
                positions=atoms.get_scaled_positions(wrap=False),
            )
            _check_step(atoms, crystal, self.path[-1].crystal)
            if len(self.path) == 1:
                self.solver.merge_equal_spins()
            self.solver.move(crystal)
            always = int(self.solver.inputs.incar.get("NELMDL") or 0) > 0
            delay, previous = None if always else 0, self.path[-1].free_energy
        steps = self._compute(delay, previous)
        forces, stress = self.solver.forces_and_stress()
        drift = forces.sum(axis=0)
        forces, stress = self._symmetrized(forces - drift / len(forces), stress)
        step = IonicStep(
            crystal=self.solver.inputs.crystal,
            steps=steps,
            converged=self.solver.converged,
            forces=forces,
            stress=stress,
            drift=drift,
            change=steps[-1].free_energy - self._reference,
            seconds=time.perf_counter() - begin,
        )
        self.path.append(step)
        if len(self.path) == 1:
            self._reference = step.free_energy
        if not self.settings.dynamics:
            self._report(step)
        return step

    def _complete_motion(self, motion: Motion) -> None:
        """Add the motion of the ions to the last step, which is then complete."""
        step = replace(self.path[-1], motion=motion)
        self.path[-1] = step
        self._report(step)

    def _symmetrized(
        self, forces: np.ndarray, stress: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Average forces and stress over the space group of the first geometry."""
        cell = self.solver.inputs.crystal.lattice
        inverse = np.linalg.inv(cell)
        forces = symmetrize_rank1(
            cell, inverse, forces, self._rotations, self._translations, self._images
        )
        if stress is not None:
            stress = symmetrize_rank2(cell, inverse, stress, self._rotations)
        return forces, stress

    def _relax(self) -> None:
        positions, shape, volume = self.settings.degrees_of_freedom
        if not positions:
            self._atoms.set_constraint(FixAtoms(indices=range(len(self._atoms))))
        if shape or volume:
            self._target = FrechetCellFilter(
                self._atoms,
                hydrostatic_strain=not shape,
                constant_volume=not volume,
                # With this unit of the strain its curvature is like that of the positions.
                exp_cell_factor=np.sqrt(len(self._atoms)),
            )
        curvature = CURVATURE * (DEFAULT_POTIM / self.settings.potim) ** 2
        optimizers = [SciPyFminCG, BFGS] if self.settings.ibrion == 2 else [BFGS]
        for optimizer in optimizers:
            steps = optimizer(self._target, logfile=None, alpha=curvature)
            steps.attach(self._end_line)
            try:
                steps.run(fmax=0.0, steps=self.settings.nsw)
            except OptimizerConvergenceError:
                continue  # the line search ended in the noise of the energies
            break
        # Nothing is left to move.
        self.relaxed = True

    def _end_line(self) -> None:
        """Compare the energies at the ends of two lines of the optimizer with a positive EDIFFG."""
        energy, before = self.path[-1].free_energy, self._end_of_line
        self._reference = self._end_of_line = energy
        if before is not None and abs(energy - before) < self.settings.ediffg:
            raise _Finished(relaxed=True)

    def check_forces(self) -> None:
        """End a relaxation whose forces are below a negative EDIFFG.

        Raises
        ------
        _Finished
            If they are.
        """
        if self.settings.dynamics or self.settings.ediffg >= 0:
            return
        forces = self._atoms.get_forces()
        if isinstance(self._target, FrechetCellFilter):
            # VASP compares the virial per ion.
            scale = self._target.exp_cell_factor / len(self._atoms)
            forces = np.concatenate([forces, self._target.get_forces()[-3:] * scale])
        if np.linalg.norm(forces, axis=1).max() < -self.settings.ediffg:
            raise _Finished(relaxed=True)


class _Surface(Calculator):
    """Energy, forces and stress of an ionic loop, for ASE.

    Parameters
    ----------
    loop
        The loop.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, loop: IonicLoop) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.loop = loop

    @override
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        step = self.loop.evaluate(self.atoms)
        energy = step.free_energy
        self.results = {"energy": energy, "free_energy": energy, "forces": step.forces}
        if step.stress is not None:
            stress = -step.stress / EV_PER_A3_IN_KB
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        self.loop.check_forces()


class _Finished(Exception):  # noqa: N818 - no error
    """The ions move no more.

    Parameters
    ----------
    relaxed
        Whether the stop rule was met, and not NSW.
    """

    def __init__(self, relaxed: bool) -> None:
        super().__init__()
        self.relaxed = relaxed


def constrain(atoms: Atoms, selective_dynamics: np.ndarray | None) -> None:
    """Keep ions from moving along the lattice vectors that selective dynamics fixes.

    Parameters
    ----------
    atoms
        The ions, changed in place.
    selective_dynamics
        Whether each ion may move along each lattice vector, shape (ions, 3); None: all may.
    """
    if selective_dynamics is None:
        return
    free = np.asarray(selective_dynamics, dtype=bool)
    fixed = np.flatnonzero(~free.any(axis=1))
    partly = np.flatnonzero(free.any(axis=1) & ~free.all(axis=1))
    atoms.set_constraint(
        [FixAtoms(indices=fixed), *(FixScaled(int(ion), mask=~free[ion]) for ion in partly)]
    )


def _check_step(atoms: Atoms, crystal: Crystal, before: Crystal) -> None:
    """Refuse a step that can only be a mistake."""
    distances = atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)]
    ratio = crystal.volume / before.volume
    if distances.min(initial=np.inf) < MIN_DISTANCE or not 1 / MAX_VOLUME_RATIO < ratio < (
        MAX_VOLUME_RATIO
    ):
        raise UnsupportedInputError(
            "an ionic step puts two ions onto each other or changes the volume by more than a "
            "factor of two, reduce POTIM in INCAR"
        )
