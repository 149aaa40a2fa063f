"""YAML files read into checked models, and their problems in one line each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.file_kinds import not_a_file

if TYPE_CHECKING:
    from collections.abc import Mapping

Model = TypeVar("Model", bound=BaseModel)

MAX_YAML_VALUES = 100_000
"""Most values of a YAML file: a few lines of aliases can stand for billions."""


class YamlError(MlchargeError, ValueError):
    """A YAML file does not hold what is expected.

    Parameters
    ----------
    *problems
        One line each: the file, the key, what is wrong.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """YAML of plain values, without keys that stand twice: the last one would count."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Read a mapping.

        Parameters
        ----------
        node
            As PyYAML gives it.
        deep
            As PyYAML gives it.

        Returns
        -------
        dict
            The mapping.

        Raises
        ------
        yaml.constructor.ConstructorError
            A key stands twice.
        """
        seen = set()
        if isinstance(node, yaml.MappingNode) and (n := _n_merged(node)) > MAX_YAML_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"its keys merge {n:,} values", node.start_mark
            )
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if (name := (key.tag, str(key.value))) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {one_line(key.value, 60)!r} stands twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def _n_merged(node: Any) -> int:
    """Values of a mapping with those that it merges, which PyYAML copies one by one."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 1  # of a node that merges itself
            merged = [v for k, v in node.value if k.tag == "tag:yaml.org,2002:merge"]
            nodes = [n for v in merged for n in (v.value if v.id == "sequence" else [v])]
            own = len(node.value) + sum(size(n) for n in nodes if n.id == "mapping")
            sizes[id(node)] = own
        return sizes[id(node)]

    return size(node)


def read_yaml(
    path: str | Path, model: type[Model], defaults: Mapping[str, Any] | None = None
) -> Model:
    """Read a YAML file into a pydantic model.

    Parameters
    ----------
    path
        The file.
    model
        What it describes.
    defaults
        Values of keys that the file leaves out.

    Returns
    -------
    BaseModel
        An instance of `model`.

    Raises
    ------
    YamlError
        The file is missing, is no YAML, or says what cannot be; one line per problem.
    """
    path = Path(path)
    if reason := not_a_file(path):
        raise YamlError(f"{path}: {reason}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise YamlError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise YamlError(f"{path}: is not a text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or error
        raise YamlError(f"{path}: {place}not YAML: {one_line(problem)}") from None
    except ValueError as error:  # a date that is none, an integer of thousands of digits
        text = "a number has too many digits" if "digits" in str(error) else one_line(error)
        raise YamlError(f"{path}: not YAML: {text}") from None
    except RecursionError:
        raise YamlError(f"{path}: is nested too deeply") from None
    if _n_values(content, {}) > MAX_YAML_VALUES:
        raise YamlError(f"{path}: its aliases expand to more than {MAX_YAML_VALUES:,} values")
    if not isinstance(content, dict):
        required = [name for name, field in model.model_fields.items() if field.is_required()]
        keys = ", ".join(required or list(model.model_fields)[:3])
        raise YamlError(f"{path}: holds no keys; write at least {keys}")
    try:
        return model.model_validate({**(defaults or {}), **content})
    except ValidationError as error:
        raise YamlError(
            *(f"{path}: {line}" for line in validation_problems(error, model))
        ) from None


def validation_problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Render what pydantic found wrong, one line per problem: the key, the fault, the remedy.

    Parameters
    ----------
    error
        What pydantic raised.
    model
        The model that was validated; its keys are listed where one is unknown.

    Returns
    -------
    list of str
        One line per problem, in pydantic's order.

    Examples
    --------
    >>> class Spec(BaseModel):
    ...     name: str
    >>> try:
    ...     Spec.model_validate({})
    ... except ValidationError as error:
    ...     validation_problems(error, Spec)
    ['name: is missing; add it']
    """
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if part != "[key]")
        match item["type"]:
            case "extra_forbidden":
                keys = _keys(model, [str(part) for part in item["loc"][:-1]])
                text = f"unknown key; the keys are {', '.join(keys)}"
            case "missing":
                text = "is missing; add it"
            case "literal_error":
                text = f"{item['input']!r} is none of {item['ctx']['expected']}"
            case "value_error":
                text = str(item["ctx"]["error"])
            case _:
                text = f"{item['msg']}, not {item['input']!r}"
        problems.append(one_line(f"{key}: {text}" if key else text))
    return problems


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Keys of the model that lies at a path of keys within another."""
    for name in path:
        field = model.model_fields.get(name)
        inner = field.annotation if field else None
        nested = [
            one
            for one in (inner, *get_args(inner))  # also of a section that may be left out
            if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        if not nested:
            break
        model = nested[0]
    return list(model.model_fields)


def _n_values(value: Any, known: dict[int, float]) -> float:
    """Number of values, aliases expanded; infinite for a value that contains itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = float("inf")
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_n_values(item, known) for item in inner)
    return known[id(value)]
