"""Training of SCDP, with the loss of the orbital model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.scdp.config import PRESETS, ScdpConfig
from mlcharge_flows.models.scdp.network import ScdpNetwork
from mlcharge_flows.training.config import TrainingError, model_options
from mlcharge_flows.training.orbital import LOSS_TERMS, OrbitalTask

if TYPE_CHECKING:
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.orbital import OrbitalSample
    from mlcharge_flows.training.sample import DensitySample


class ScdpTask(OrbitalTask):
    """The network of SCDP with the loss of the orbital model."""

    @staticmethod
    def _build(
        config: TrainingConfig, elements: list[str], channels: dict[str, list[int]]
    ) -> tuple[ScdpConfig, ScdpNetwork]:
        model = model_options(
            ScdpConfig, PRESETS, config, LOSS_TERMS, elements=elements, channels=channels
        )
        return model, ScdpNetwork(model)

    def prepare(self, sample: DensitySample) -> OrbitalSample:
        """Convert a molecule to tensors.

        Parameters
        ----------
        sample
            A converged density.

        Returns
        -------
        OrbitalSample
            On the device of the task.

        Raises
        ------
        TrainingError
            The cell does not hold a single molecule, and the model is not periodic.
        """
        try:
            return super().prepare(sample)
        except ModelError as error:
            raise TrainingError(
                f"{sample.id}: {error}; crystals take `periodic: true` under model"
            ) from None
