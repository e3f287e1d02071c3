"""Flags made of settings dataclasses, and settings made of flags.

What a flag is called, takes and says is in the field that it stands for
(`sop_keras.settings.setting`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from absl import flags

from sop_keras import methods
from sop_keras.settings import check_value, flag_of, kind_of

AUTO = "auto"

Field = dataclasses.Field[Any]


def fields_of(settings: Any) -> list[Field]:
    """The fields of a settings dataclass that are options."""
    return [one for one in dataclasses.fields(settings) if one.metadata]


def define(
    values: flags.FlagValues, settings: type[Any], only: Collection[str] | None = None
) -> None:
    """Define a flag for each field of a settings dataclass.

    Args:
        values: gets the flags.
        settings: the dataclass.
        only: the names of the fields. Defaults to `None`: all.
    """
    for field in fields_of(settings):
        if only is None or field.name in only:
            text = field.metadata["text"]
            _define(values, [field], field.default, text, settings.__name__)


def define_methods(values: flags.FlagValues) -> None:
    """Define a flag for each setting of any method; fields of one flag share it.

    Its default is None: the method's own.
    """
    for name, own in _method_fields().items():
        defaults = ", ".join(f"{method}: {_default_of(field)}" for method, field in own)
        texts = dict.fromkeys(field.metadata["text"] for _, field in own)
        text = f"{' '.join(texts)} By default, {defaults}."
        _define(values, [field for _, field in own], None, text, "Method", name)


def read(values: flags.FlagValues, settings: type[Any]) -> Any:
    """The settings that the flags ask for.

    Raises:
        ValueError: for values that do not fit each other.
    """
    return settings(**{one.name: value_of(values, one) for one in fields_of(settings)})


def read_method(values: flags.FlagValues, method: str) -> methods.MethodSettings:
    """The settings of a method that the flags ask for; those of others are left out.

    Raises:
        ValueError: for a value that this method does not take.
    """
    settings = methods.record(method).settings
    given = [
        one for one in fields_of(settings) if values[flag_of(one)].value is not None
    ]
    return settings(**{one.name: value_of(values, one) for one in given})


def not_of_methods(chosen: Collection[str]) -> list[str]:
    """The flags of methods that none of the chosen ones has."""
    return [
        name
        for name, own in _method_fields().items()
        if not any(method in chosen for method, _ in own)
    ]


def value_of(values: flags.FlagValues, field: Field) -> Any:
    """What a field's flag says."""
    value = values[flag_of(field)].value
    return None if value == AUTO and field.metadata["may_be_auto"] else value


def is_given(values: flags.FlagValues, name: str) -> bool:
    """Whether a flag is on the command line, or in a flagfile that is."""
    return not values[name].using_default_value


def written(field: Field, value: Any) -> str:
    """The flag of a field, as it is written on a command line."""
    name = flag_of(field)
    if value is None:
        return (
            f"--{name}={AUTO}" if field.metadata["may_be_auto"] else f"--{name} unset"
        )
    if kind_of(field) == "bool":
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={text_of(value)}"


def text_of(value: Any) -> str:
    """A value as a flag has it."""
    is_list = isinstance(value, (list, tuple))
    return ",".join(map(str, value)) if is_list else str(value)


def _method_fields() -> dict[str, list[tuple[str, Field]]]:
    """By the flag's name, the methods that have it and their fields."""
    found: dict[str, list[tuple[str, Field]]] = {}
    for name, record in methods.records().items():
        for field in fields_of(record.settings):
            found.setdefault(flag_of(field), []).append((name, field))
    return found


def _default_of(field: Field) -> Any:
    """The default as a command line would have it."""
    is_auto = field.default is None and field.metadata["may_be_auto"]
    return AUTO if is_auto else field.default


def _define(
    values: flags.FlagValues,
    fields: list[Field],
    default: Any,
    text: str,
    group: str,
    name: str | None = None,
) -> None:
    name = name or flag_of(fields[0])
    if kind_of(fields[0]) == "bool":
        flag: flags.Flag[Any] = flags.BooleanFlag(name, default, text)
    else:
        serializer = flags.ListSerializer(",")
        if kind_of(fields[0]) != "tuple":
            serializer = flags.ArgumentSerializer()
        flag = flags.Flag(_Parser(fields), serializer, name, default, text)
    flags.DEFINE_flag(flag, values, module_name=group)


class _Parser(flags.ArgumentParser[Any]):
    """Takes what one of the fields allows; what the first has against it is the error.

    Args:
        fields: of one flag, all of one kind.
    """

    def __init__(self, fields: list[Field]) -> None:
        self._parsers = [_OneParser(field) for field in fields]
        self.syntactic_help = self._parsers[0].syntactic_help

    def parse(self, argument: Any) -> Any:
        errors = []
        for parser in self._parsers:
            try:
                return parser.parse(argument)
            except ValueError as error:
                errors.append(error)
        raise errors[0]


class _OneParser(flags.ArgumentParser[Any]):
    """Takes what a field allows."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._parser = _absl_parser(field)
        self._takes_auto = field.metadata["may_be_auto"]
        self.syntactic_help = self._parser.syntactic_help
        if self._takes_auto:
            self.syntactic_help = f"{_number(field)}, or {AUTO}"

    def parse(self, argument: Any) -> Any:
        if self._takes_auto and str(argument).lower() == AUTO:
            return AUTO
        try:
            value = self._parser.parse(argument)
        except ValueError:
            if self._takes_auto:
                raise ValueError(f"must be {self.syntactic_help}") from None
            raise
        check_value(self._field, value)
        return value


def _absl_parser(field: Field) -> flags.ArgumentParser[Any]:
    kind, metadata = kind_of(field), field.metadata
    if metadata["choices"] is not None:
        return flags.EnumParser(metadata["choices"])
    if kind == "tuple":
        return _Integers()
    if kind == "str":
        return flags.ArgumentParser()
    parser = {"int": flags.IntegerParser, "float": flags.FloatParser}[kind]
    return parser(lower_bound=metadata["least"], upper_bound=metadata["most"])


def _number(field: Field) -> str:
    least = field.metadata["least"]
    return "a number" if least is None else f"a number of at least {least:g}"


class _Integers(flags.ArgumentParser[Any]):
    """Integers with commas between them."""

    syntactic_help = "positive integers, like 40,80"

    def parse(self, argument: Any) -> tuple[int, ...]:
        if isinstance(argument, tuple):
            return argument
        parts = [part.strip() for part in argument.split(",")] if argument else []
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(f"must be {self.syntactic_help}")
        return tuple(int(part) for part in parts)
