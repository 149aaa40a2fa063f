"""Protocol of all models of the density, whatever their architecture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from mlcharge_flows.density.density import superpose
from mlcharge_flows.errors import MlchargeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import torch

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.expected_error import ExpectedError
    from mlcharge_flows.models.orbital.spin_prediction import SpinPrediction


class ModelError(MlchargeError, ValueError):
    """A model cannot be found or loaded, or refuses a prediction."""


@runtime_checkable
class DensityModel(Protocol):
    """A trained model, ready to predict.

    An architecture is a package ``mlcharge_flows.models.<architecture>`` with a function
    ``load(checkpoint: Checkpoint) -> DensityModel``; the card of a checkpoint names it. Classes
    that derive from this protocol inherit :meth:`complete` and :meth:`with_element_means` that
    refuse, and set :attr:`completes_densities` if they implement both.
    """

    card: Card
    """Training data, PAW data sets and applicability domain of the model."""

    completes_densities: bool = False
    """Whether the model assigns augmentation occupancies to a given density."""

    deforms_any_atoms: bool = False
    """Whether :meth:`deformation` uses no free atoms of the card: it is then added to the
    superposition of the run's own atoms."""

    predicts_magnetization: bool = False
    """Whether :meth:`predict_spin` predicts magnetizations."""

    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """Predict the converged density of a neutral cell.

        Equal input gives equal output, bit for bit, on one machine. The applicability domain is
        not checked here, see :meth:`mlcharge_flows.models.domain.Domain.check`.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).

        Returns
        -------
        Density
            The total on the grid in electrons/angstrom^3, which integrates to the sum of the
            valence electrons; with augmentation occupancies of every ion, unless
            ``card.occupancies`` is ``"none"``.

        Raises
        ------
        ModelError
            The output of the network is no density.
        """
        ...

    def predict_batch(
        self, crystals: Sequence[Crystal], shapes: Sequence[tuple[int, int, int]]
    ) -> list[Density]:
        """Predict several crystals, in one pass of the network where the architecture has one.

        Parameters
        ----------
        crystals
            The ions of each.
        shapes
            Fine grid of each.

        Returns
        -------
        list of Density
            As :meth:`predict` gives them, up to the rounding of the network.

        Raises
        ------
        ModelError
            The output of the network is no density of one of them.
        """
        return [
            self.predict(crystal, shape) for crystal, shape in zip(crystals, shapes, strict=True)
        ]

    def to(self, device: torch.device | str) -> Self:
        """Move the network to a device; densities are arrays on the CPU as before.

        Parameters
        ----------
        device
            Such as ``cpu`` or ``cuda``.

        Returns
        -------
        DensityModel
            The same model. Nothing happens where a model has no network.
        """
        return self

    def deformation(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """Predict the converged density less the superposition of atoms.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).

        Returns
        -------
        Density
            Its total integrates to zero; its augmentation occupancies, unless
            ``card.occupancies`` is ``"none"``, are changes, in the PAW data sets of the card.

        Raises
        ------
        ModelError
            The output of the network is no density, or the free atoms are not known.
        """
        predicted = self.predict(crystal, shape)
        try:
            atomic = superpose(crystal, self.card.paw, shape)
        except ValueError as error:
            raise ModelError(f"the model {self.card.name}: {error}") from None
        augmentation = predicted.augmentation
        if augmentation is not None and atomic.augmentation is not None:
            pairs = zip(augmentation, atomic.augmentation, strict=True)
            augmentation = tuple(values - free for values, free in pairs)
        return replace(predicted, total=predicted.total - atomic.total, augmentation=augmentation)

    def predict_spin(
        self,
        crystal: Crystal,
        shape: tuple[int, int, int],
        magmom: np.ndarray,
        is_fixed: bool = False,
    ) -> SpinPrediction:
        """Predict the converged density of a spin-polarized run, and its magnetization.

        Reversing all moments reverses the magnetization and leaves the density, bit for bit.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).
        magmom
            MAGMOM of the run: moment of each ion, Bohr magnetons, shape (ions,).
        is_fixed
            Whether the run keeps the density (ICHARG = 11): nothing of MAGMOM is then used but the
            signs.

        Returns
        -------
        SpinPrediction
            To be added to the superposition of the run's atoms.

        Raises
        ------
        ModelError
            The model predicts no magnetizations, or the output of the network is no density.
        """
        raise ModelError(f"the model {self.card.name} predicts no magnetizations")

    def expected_error(
        self, crystal: Crystal, magmom: np.ndarray | None = None
    ) -> ExpectedError | None:
        """Error that the prediction for a crystal is expected to leave.

        Parameters
        ----------
        crystal
            The ions; the model knows all elements.
        magmom
            Moment of each ion of a spin-polarized run, Bohr magnetons, shape (ions,).

        Returns
        -------
        ExpectedError or None
            None for a model without an estimate.
        """
        return None

    def complete(self, density: Density, atoms: Mapping[str, PawDataset] | None = None) -> Density:
        """Add the augmentation occupancies that belong to a given density.

        Parameters
        ----------
        density
            The total on the grid, from any source; its occupancies are ignored.
        atoms
            Free atom of each element; those of the checkpoint if not given.

        Returns
        -------
        Density
            The same total, with augmentation occupancies of every ion.

        Raises
        ------
        ModelError
            The model does not complete densities, or the density is far from that of a crystal.
        """
        raise ModelError(f"the model {self.card.name} does not complete densities")

    def with_element_means(
        self, density: Density, atoms: Mapping[str, PawDataset] | None = None
    ) -> Density:
        """Add the mean converged augmentation occupancies of each element in training.

        Parameters
        ----------
        density
            The total on the grid, from any source; its occupancies are ignored.
        atoms
            Free atom of each element; those of the checkpoint if not given.

        Returns
        -------
        Density
            The same total, with spherical augmentation occupancies of every ion.

        Raises
        ------
        ModelError
            The model has no element means.
        """
        raise ModelError(f"the model {self.card.name} has no element means of the occupancies")
