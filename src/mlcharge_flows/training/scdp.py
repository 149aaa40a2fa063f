"""Training SCDP: the orbital model's loss, for another network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.scdp.config import PRESETS, ScdpConfig
from mlcharge_flows.models.scdp.network import ScdpNetwork
from mlcharge_flows.training.config import ConfigError
from mlcharge_flows.training.options import read_options
from mlcharge_flows.training.orbital import TERMS, OrbitalTask

if TYPE_CHECKING:
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.orbital import OrbitalExample
    from mlcharge_flows.training.record import Record


class ScdpTask(OrbitalTask):
    """The network of SCDP with the loss of the orbital model."""

    @staticmethod
    def _made(
        config: TrainingConfig, elements: list[str], channels: dict[str, list[int]]
    ) -> tuple[ScdpConfig, ScdpNetwork]:
        model = read_options(
            ScdpConfig, PRESETS, config, TERMS, elements=elements, channels=channels
        )
        return model, ScdpNetwork(model)

    def example(self, record: Record) -> OrbitalExample:
        """Turn a molecule into tensors, once.

        Raises
        ------
        ConfigError
            It is no molecule alone in its box.
        """
        try:
            return super().example(record)
        except ModelError as error:
            raise ConfigError(
                f"{record.id}: {error}; crystals take `periodic: true` under model"
            ) from None
