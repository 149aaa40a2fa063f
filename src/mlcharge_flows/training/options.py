"""Options of an architecture as a training names them: a preset, and what differs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from mlcharge_flows.training.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from mlcharge_flows.training.config import TrainingConfig

Options = TypeVar("Options", bound=BaseModel)


def read_options(
    kind: type[Options],
    presets: Mapping[str, Options | Mapping[str, Any]],
    config: TrainingConfig,
    terms: Container[str] = ("grid",),
    **of_data: Any,
) -> Options:
    """Take the options of an architecture: a preset, what differs from it, and what the data say.

    Parameters
    ----------
    kind
        What the options are.
    presets
        Those with a name.
    config
        The training. ``model`` may name a preset beside the options that differ from it.
    terms
        Of the loss, that the architecture knows; those that predict the density alone: the grid's.
    of_data
        Options that the data set decides.

    Raises
    ------
    ConfigError
        There is no such preset or option, or the loss has terms that the architecture has not.

    Examples
    --------
    >>> from mlcharge_flows.models.superres.config import PRESETS, SuperResConfig
    >>> from mlcharge_flows.training.config import TrainingConfig
    >>> config = TrainingConfig(
    ...     name="demo", data="d.h5", model={"preset": "paper", "channels": 8}
    ... )
    >>> options = read_options(SuperResConfig, PRESETS, config)
    >>> options.target, options.channels, options.blocks
    ('density', 8, 32)
    """
    if others := sorted(name for name in config.loss.model_fields_set if name not in terms):
        raise ConfigError(
            f"loss.{others[0]}: {config.architecture} knows no such term, its loss is the grid's "
            "alone; remove it"
        )
    given = dict(config.model)
    if taken := sorted(given.keys() & of_data.keys()):
        raise ConfigError(f"model.{taken[0]}: the data set decides it; remove it")
    name = given.pop("preset", None)
    if name is not None:
        if name not in presets:
            raise ConfigError(
                f"model.preset: there is no {name!r}; choose from {', '.join(presets)}"
            )
        preset = presets[name]
        named = preset.model_dump() if isinstance(preset, BaseModel) else preset
        given = {**named, **given}
    try:
        return kind(**given, **of_data)
    except ValidationError as error:
        first = error.errors()[0]
        words = [*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")]
        raise ConfigError(f"model.{': '.join(words)}") from None
