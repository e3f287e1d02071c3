"""What `result.json` may hold: what is shown of it must be what a run writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# By the begins of names; those of others are not looked at.
_NUMBERS = (
    "final_",
    "best_",
    "train_accuracy_",
    "noise_auroc",
    "noise_rate",
    "num_wrong_",
)


def damage_of(result: dict[str, Any]) -> str | None:
    """What is wrong with the content of a `result.json`; None if nothing is.

    Args:
        result: a JSON object. What it lacks is not looked for.
    """
    for name, value in result.items():
        expected, is_right = _expected(name)
        if not is_right(value):
            return f'its "{name}" is {shortened(value)}, not {expected}'
    return None


def shortened(value: Any, longest: int = 100) -> str:
    """A value from somebody else's file, as it stands in an error, in one line.

    Args:
        value: what JSON knows.
        longest: how many characters of it. Defaults to `100`.
    """
    try:
        text = repr(value)
    except RecursionError:
        text = type(value).__name__
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _expected(name: str) -> tuple[str, Callable[[Any], bool]]:
    if name in _KINDS:
        return _KINDS[name]
    if name.startswith(_NUMBERS):
        return "a number", _is_number_or_none
    return "", lambda value: True


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_list(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(of, value))


def _is_object(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(of, value.values()))


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_pair_with_share(value: Any) -> bool:
    return (
        _is_list(value, _is_number)
        and len(value) == 3
        and all(type(one) is int for one in value[:2])
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "seconds": ("a number", _is_number),
    "doubts": ("a list of texts", lambda value: _is_list(value, _is_text)),
    "flags": ("text", _is_text),
    "versions": ("an object of texts", lambda value: _is_object(value, _is_text)),
    "facts": ("an object of texts", lambda value: _is_object(value, _is_text)),
    "num_outliers": ("a whole number", lambda value: type(value) is int),
    "num_contradictory_duplicates": (
        "a whole number",
        lambda value: type(value) is int,
    ),
    "outliers": ("a list of ids", lambda value: _is_list(value, _is_id)),
    "contradictory_duplicates": (
        "a list of lists of ids",
        lambda value: _is_list(value, lambda one: _is_list(one, _is_id)),
    ),
    "contradictory_duplicate_sizes": (
        "a list of whole numbers",
        lambda value: _is_list(value, _is_id),
    ),
    "too_many_near_duplicates": ("a number, or null", _is_number_or_none),
    "alike_classes": (
        "a list of two classes and a number each",
        lambda value: _is_list(value, _is_pair_with_share),
    ),
    "num_bad_images": (
        "an object of numbers",
        lambda value: _is_object(value, lambda one: type(one) is int),
    ),
    "detection": (
        "an object of numbers",
        lambda value: value is None or _is_object(value, _is_number_or_none),
    ),
    "class_figures": (
        "an object of lists of numbers",
        lambda value: (
            value is None
            or _is_object(value, lambda one: bool(one) and _is_list(one, _is_number))
        ),
    ),
}
