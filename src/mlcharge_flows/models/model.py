"""What every model of the density is, whatever its architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.models.card import Card


class ModelError(ValueError):
    """A model that cannot be had, or that will not predict; one line that says why."""


@runtime_checkable
class DensityModel(Protocol):
    """A trained model, ready to predict.

    An architecture is a package ``mlcharge_flows.models.<architecture>`` with a function
    ``load(checkpoint: Checkpoint) -> DensityModel``; a card names it.
    """

    @property
    def card(self) -> Card:
        """What the model was trained on and what it knows."""
        ...

    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """Predict the converged density of a neutral cell.

        The same input gives the same output, bit for bit, on one machine. What the model cannot
        know is refused before, by :func:`mlcharge_flows.models.scope.check_scope`.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).

        Returns
        -------
        Density
            The total on the grid in e/angstrom^3, which integrates to the sum of the valence
            electrons; with one occupancy record per ion, unless ``card.occupancies`` is ``"none"``.
        """
        ...


@runtime_checkable
class CompletesDensities(Protocol):
    """A model that knows which occupancies belong to a density, whoever predicted it."""

    def complete(self, density: Density) -> Density:
        """Give a density of known ions the occupancies that belong to it.

        Parameters
        ----------
        density
            The total on the grid; occupancies that it has are not looked at.
        """
        ...

    def with_element_means(self, density: Density) -> Density:
        """Give a density the mean occupancies that the ions of its elements had in training.

        Parameters
        ----------
        density
            The total on the grid; occupancies that it has are not looked at.
        """
        ...
