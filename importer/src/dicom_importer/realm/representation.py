"""Keycloak's JSON representations: typed access, comparison with what is wanted, and merging."""

from collections.abc import Iterable
from typing import TypeAlias, cast

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Representation: TypeAlias = dict[str, "Json"]


class RepresentationError(ValueError):
    """A representation lacks what every one of its kind has."""


def text(representation: Representation, key: str) -> str:
    """Give the string under the key; raises RepresentationError."""
    value = representation.get(key)
    if not isinstance(value, str):
        raise RepresentationError(f"{key!r} is no text: {value!r}")
    return value


def texts(representation: Representation, key: str) -> list[str]:
    """Give the list of strings under the key, empty where there is none."""
    value = representation.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RepresentationError(f"{key!r} is no list of texts: {value!r}")
    return cast("list[str]", value)


def record(value: Json) -> Representation:
    """Give the value as an object; raises RepresentationError."""
    if not isinstance(value, dict):
        raise RepresentationError(f"no object: {value!r}")
    return value


def records(value: Json) -> list[Representation]:
    """Give the value as a list of objects, empty for none; raises RepresentationError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RepresentationError(f"no list: {value!r}")
    return [record(item) for item in value]


def by(key: str, items: Iterable[Representation]) -> dict[str, Representation]:
    """Index objects by one of their keys."""
    return {text(item, key): item for item in items}


def without(representation: Representation, *keys: str) -> Representation:
    """Give a copy that lacks the keys."""
    return {key: value for key, value in representation.items() if key not in keys}


def differences(wanted: Json, found: Json, at: str = "") -> list[str]:
    """Name the places where what was found is not what is wanted.

    Keys that are not wanted are the server's own business; the order of a list has no meaning
    in any list that Keycloak keeps.
    """
    if isinstance(wanted, dict):
        have = found if isinstance(found, dict) else {}
        return [
            place
            for key, value in sorted(wanted.items())
            for place in differences(value, have.get(key), f"{at}.{key}" if at else key)
        ]
    if isinstance(wanted, list) and isinstance(found, list):
        return [] if sorted(map(repr, wanted)) == sorted(map(repr, found)) else [at]
    # An empty list or text is stored as nothing.
    if wanted in ([], "") and found in (None, ""):
        return []
    return [] if wanted == found else [at]


def merged(wanted: Representation, found: Representation) -> Representation:
    """Lay what is wanted over what was found, object by object."""
    result = dict(found)
    for key, value in wanted.items():
        have = result.get(key)
        both = isinstance(value, dict) and isinstance(have, dict)
        result[key] = merged(record(value), record(have)) if both else value
    return result
