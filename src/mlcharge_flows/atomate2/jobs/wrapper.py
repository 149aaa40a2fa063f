"""A Maker around a VASP Maker that looks like it from outside."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, fields, replace
from typing import Any

from atomate2.vasp.jobs.base import BaseVaspMaker
from jobflow import Maker

_FIELDS = {item.name for item in fields(BaseVaspMaker)} - {"name"}


class _Inner:
    """A setting of the inner Maker, read and set through the wrapper."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: Any, owner: type | None = None) -> Any:
        return self if wrapper is None else getattr(wrapper.maker, self.name)

    def __set__(self, wrapper: Any, value: Any) -> None:
        setattr(wrapper.maker, self.name, value)


@dataclass
class WrapperMaker(Maker):
    """Hold a VASP Maker, whose settings flows and power-ups find as if it stood alone.

    It is no VASP Maker itself: a power-up with ``class_filter=BaseVaspMaker``, or with the class
    of the inner Maker, must find one Maker, the inner one, and not two.

    Parameters
    ----------
    maker
        The VASP Maker.

    Examples
    --------
    >>> from atomate2.vasp.jobs.core import StaticMaker
    >>> wrapper = WrapperMaker(maker=StaticMaker())
    >>> wrapper.write_additional_data["phonon_info:json"] = {"displacement_number": 3}
    >>> wrapper.maker.write_additional_data
    {'phonon_info:json': {'displacement_number': 3}}
    """

    name: str = "wrapper"
    maker: BaseVaspMaker = field(default_factory=BaseVaspMaker)

    input_set_generator = _Inner()
    write_input_set_kwargs = _Inner()
    copy_vasp_kwargs = _Inner()
    run_vasp_kwargs = _Inner()
    task_document_kwargs = _Inner()
    stop_children_kwargs = _Inner()
    write_additional_data = _Inner()

    def update_kwargs(
        self,
        update: dict[str, Any],
        name_filter: str | None = None,
        class_filter: type[Maker] | None = None,
        nested: bool = True,
        dict_mod: bool = False,
    ) -> Maker:
        """Update the inner Maker, unless the filter asks for a Maker of another kind.

        Flows update without a filter what they believe to be a VASP Maker; the other fields of
        the wrapper know nothing of such settings.
        """
        # jobflow also takes an instance for its class.
        wanted = class_filter if inspect.isclass(class_filter) else type(class_filter)
        filters: Any = (name_filter, class_filter, nested, dict_mod)
        if class_filter is None or wanted is Maker or issubclass(wanted, BaseVaspMaker):
            return replace(self, maker=self.maker.update_kwargs(update, *filters))
        return super().update_kwargs(update, *filters)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> WrapperMaker:
        """Read a serialized wrapper; settings of a VASP Maker beside it go into the inner one."""
        own = {key: value for key, value in d.items() if key not in _FIELDS}
        wrapper: Any = super().from_dict(own)
        for key in _FIELDS & d.keys():
            old, new = getattr(wrapper, key), d[key]
            both = isinstance(old, dict) and isinstance(new, dict)
            setattr(wrapper, key, old | new if both else new)
        return wrapper
