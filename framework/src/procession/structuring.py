"""Structuring: raw tables into attrs classes, strictly, with every problem at once.

Rules
-----
* A key is a field's name with dashes for underscores.
* Nothing is coerced: a number in quotes is a text, and a text is no list. A map numbered 1, 2, 3 is one.
* A problem reads ``key path: what; what to do`` and the others are still looked for.
* A validator or a class may refuse with ``ValueError(text)``, or, to name the field, ``ValueError(text, attribute)``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

import attrs
import cattrs

from procession.roles import Blob

T = TypeVar("T")
BlobReader = Callable[[str], str]  # what the table says -> the id; ValueError if there are no such bytes

_WORDS = {str: "a text", int: "an integer", float: "a number", bool: "true or false", dict: "a table", list: "a list"}


def key_of(field: str) -> str:
    """Return the key of a field.

    >>> key_of("device_stack")
    'device-stack'
    """
    return field.replace("_", "-")


def keys_of(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """Return the fields of an attrs class by key."""
    return {key_of(field.name): field for field in attrs.fields(attrs.resolve_types(cls))}


def structured(
    cls: type[T], table: Mapping[str, Any], *, path: str, read_blob: BlobReader
) -> tuple[T | None, list[str]]:
    """Return an instance of the fields that a table names, or None, and the problems found.

    Keys that are no fields are left to ``unknown_keys``.
    """
    try:
        return _converter(read_blob).structure(dict(table), cls), []
    except cattrs.BaseValidationError as group:
        return None, list(_problems(group, path))


def unknown_keys(known: Iterable[str], table: Mapping[str, Any], path: str) -> list[str]:
    """Return a problem for each key of a table that is not known, with the nearest that is."""
    names = sorted(set(known))
    return [f"{_join(path, key)}: unknown key; {nearest(key, names)}" for key in table if key not in names]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a misspelt name.

    >>> nearest("passess", ["passes", "mode"])
    "nearest is 'passes'"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"nearest is {close[0]!r}"
    return f"known are {', '.join(names)}" if names else "none is known here"


def listed(value: Any) -> Any:
    """Return the list that a map is whose keys are 1, 2, 3, as HTTP has lists; anything else as it is.

    >>> listed({"2": "b", "1": "a"}), listed({"1": "a", "3": "c"}), listed({})
    (['a', 'b'], {'1': 'a', '3': 'c'}, {})
    """
    keys = [str(number + 1) for number in range(len(value))] if isinstance(value, Mapping) else []
    return [value[key] for key in keys] if keys and set(keys) == set(value) else value


@lru_cache(maxsize=4)  # of those who read blobs; a converter takes as long to make as a hundred tables to structure
def _converter(read_blob: BlobReader) -> cattrs.BaseConverter:
    converter = cattrs.BaseConverter(detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Blob, lambda value, kind: Blob(read_blob(_exactly(str)(value, kind))))
    converter.register_structure_hook_func(lambda kind: kind is Any, lambda value, _: value)
    converter.register_structure_hook_factory(_is_tuple, lambda kind: _tuple_hook(kind, converter))
    converter.register_structure_hook_factory(_is_mapping, lambda kind: _mapping_hook(kind, converter))
    converter.register_structure_hook_factory(attrs.has, lambda kind: _class_hook(kind, converter))
    return converter


def _class_hook(cls: type, converter: cattrs.BaseConverter) -> Callable[[Any, Any], Any]:
    fields = keys_of(cls)

    def structure(value: Any, _: Any) -> Any:
        table = _table(value)
        found: dict[str, Any] = {}
        errors: list[Exception] = []
        for key, field in fields.items():
            try:
                found |= _taken(table, key, field, converter)
            except (KeyError, ValueError, TypeError, cattrs.BaseValidationError) as error:
                errors.append(error)
        if errors:
            raise cattrs.ClassValidationError(f"while structuring {cls.__name__}", errors, cls)
        try:
            return cls(**found)
        except (ValueError, TypeError) as error:  # of fields that do not go together
            raise cattrs.ClassValidationError(f"while structuring {cls.__name__}", [error], cls) from error

    return structure


def _taken(table: Any, key: str, field: Any, converter: cattrs.BaseConverter) -> dict[str, Any]:
    """Return the argument that a key gives, or none where a default stands for it."""
    if key not in table and field.default is attrs.NOTHING:
        raise KeyError(key)
    if key not in table:
        return {}
    try:
        value = converter.structure(table[key], field.type)
        if field.validator is not None:
            with suppress(AttributeError):  # one that compares fields is asked again when all are there
                field.validator(None, field, value)
    except (ValueError, TypeError, cattrs.BaseValidationError) as error:
        error.add_note(cattrs.AttributeValidationNote(f"of {key}", field.name, field.type))
        raise
    return {field.alias: value}


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _tuple_hook(kind: Any, converter: cattrs.BaseConverter) -> Callable[[Any, Any], Any]:
    as_list = list[kind.__args__[0]]

    def structure(value: Any, _: Any) -> Any:
        found = listed(value)
        if not isinstance(found, list | tuple):
            raise TypeError(_expected(list, value))
        return tuple(converter.structure(list(found), as_list))

    return structure


def _is_mapping(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) in (Mapping, dict)


def _mapping_hook(kind: Any, converter: cattrs.BaseConverter) -> Callable[[Any, Any], Any]:
    held = kind.__args__[1]

    def structure(value: Any, _: Any) -> Any:
        found: dict[str, Any] = {}
        errors: list[Exception] = []
        for key, item in _table(value).items():
            try:
                found[key] = converter.structure(item, held)
            except (ValueError, TypeError, cattrs.BaseValidationError) as error:
                error.add_note(cattrs.IterableValidationNote(f"of {key}", key, held))
                errors.append(error)
        if errors:
            raise cattrs.IterableValidationError(f"while structuring {kind}", errors, kind)
        return found

    return structure


def _exactly(wanted: type) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not wanted:
            raise TypeError(_expected(wanted, value))
        return value

    return check


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(_expected(float, value))
    return float(value)


def _table(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(_expected(dict, value))
    return value


def _expected(wanted: type, value: Any) -> str:
    found = _WORDS.get(type(value), type(value).__name__)
    more = ", or number its rows 1, 2, 3" if wanted is list and isinstance(value, Mapping) else ""
    return f"{value!r:.60} is {found}; give {_WORDS[wanted]}{more}"


def _problems(error: BaseException, path: str) -> Iterator[str]:
    if isinstance(error, cattrs.BaseValidationError):
        for inner in error.exceptions:
            yield from _problems(inner, path + _place(inner))
    elif isinstance(error, KeyError):
        yield f"{_join(path, key_of(str(error.args[0])))}: missing; add it"
    else:
        yield f"{path}: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """Return the text of a refusal alone, the field that it names as its key."""
    text, *facts = error.args or ("",)
    attributes = [fact.name for fact in facts if isinstance(fact, attrs.Attribute)]
    told = str(text if attributes else error)
    names = [note.name for note in _notes(error) if isinstance(note, cattrs.AttributeValidationNote)]
    for name in attributes + names:
        if told.startswith(f"'{name}' must "):  # as the validators of attrs begin
            return f"{key_of(name)!r}{told[len(name) + 2 :]}"
    return told


def _notes(error: BaseException) -> list[Any]:
    return getattr(error, "__notes__", [])


def _place(error: BaseException) -> str:
    for note in _notes(error):
        if isinstance(note, cattrs.AttributeValidationNote):
            return f".{key_of(note.name)}"
        if isinstance(note, cattrs.IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else f".{note.index}"
    named = [fact for fact in error.args if isinstance(fact, attrs.Attribute)]
    return f".{key_of(named[0].name)}" if named else ""


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
