"""Paths: the text by which a caller names a chain of steps, their devices and their keys.

::

    path   = part *("/" part) ["?" query]        empty parts are dropped
    part   = (name | "(" path ")") ["~" device] *("&" inline)
           | name ["+" type] "=" value *("&" inline)            a step with a key of its own name
    inline = key ["+" type] ["=" (value | "(" path ")")]        without a value: true
    query  = [N "."] key ["+" type] ["=" value] *("&" ...)      of step N, 0 is the base; else of every step

Rules
-----
* A percent-encoded character is text, never structure; only the ``+`` before a type may be encoded.
* The nearest key wins: the message's, the query's, the inline one; a scoped one over a global one.
* Each problem is told with the position, from 1, of the character that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import quote

import attrs

from procession.errors import RequestError
from procession.ids import is_id
from procession.messages import EMPTY, Message, checked_text, encode, is_private, normalize_key
from procession.texts import TYPES, Text, outside, read, spelled, split

MAX_TEXT = 16 * 1024  # bytes of a whole path
MAX_PART = 512  # bytes of one part, percent-decoded
MAX_STEPS = 64
MAX_KEYS = 256  # inline and query keys of one path; those of the message are bounded with it
MAX_DEPTH = 8  # paths in paths
KEPT = 256  # characters of a path that is kept as it was read, and how many are

_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_QUERY_PAIR = re.compile(r"[^&]+")
_SCOPE = re.compile(r"(0|[1-9][0-9]*)\.(.+)", re.DOTALL)


@attrs.frozen
class Step:
    """Hold one step: a key, an id, or "" where there is only a cast or a nested path in its place.

    ``params`` are the keys that apply to this step, ``nested_params`` those whose values are
    paths to resolve first. ``start`` is the offset of the part in the text.
    """

    name: str
    device: str | None = None
    params: Message = EMPTY
    nested: Path | None = None
    nested_params: Mapping[str, Path] = attrs.field(factory=dict, hash=False)
    start: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Path:
    """Hold the steps of a path, and the keys that go to its base: the global ones and those of scope 0."""

    steps: tuple[Step, ...] = ()
    params: Message = EMPTY
    nested_params: Mapping[str, Path] = attrs.field(factory=dict, hash=False)

    @property
    def first(self) -> int:
        """Return the number of the first step: 0 where it is the base (an id, a cast, a nested path), else 1."""
        step = self.steps[0] if self.steps else Step("")
        return 0 if step.device is not None or step.nested is not None or is_id(step.name) else 1


def parse(text: str, keys: Mapping[str, object] | None = None) -> Path:
    """Return the path that a text says, given the keys of the message that came with it.

    The keys apply like those of the query; private ones are left out, and a ``+suffix`` that is
    no type is part of the key. Raises RequestError (kind ``path``, fact ``position``, and ``key``
    where the fault is in the keys).

    >>> path = parse("/a/b&slot+integer=3?2.full=yes")
    >>> [(step.name, step.params.plain()) for step in path.steps]
    [('a', {}), ('b', {'full': 'yes', 'slot': 3})]
    """
    if not keys and len(text) <= KEPT:
        return _bare(text)
    given = [_given_row(key, value) for key, value in (keys or {}).items() if not is_private(normalize_key(key))]
    return _path(Text.given(text), 0, given)


def unparse(path: Path) -> str:
    """Return a text that parses to this path, as far as the limits let it.

    Raises RequestError (kind ``path``) for a value that no path can write: bytes, a message.

    >>> unparse(parse("/~process@1.0/compute&slot=1/results?format=json"))
    '/~process@1.0/compute&slot=1/results?format=json'
    """
    base = _rows_of(path)
    shared = {key: value for key, value in base.items() if _is_shared(key, path.steps)}
    query = [_pair(key if key in shared else f"0.{key}", base[key], form=True) for key in base]
    parts = []
    for number, step in enumerate(path.steps, path.first):
        own = _differing(_rows_of(step), shared if number else base)
        part = "&".join([_head_of(step), *[_pair(key, value) for key, value in own.items()]])
        if number and _size(part) > MAX_PART:
            part = _head_of(step)
            query += [_pair(f"{number}.{key}", value, form=True) for key, value in own.items()]
        parts.append(part)
    return "/" + "/".join(parts) + ("?" + "&".join(query) if query else "")


def join(*parts: str | int) -> str:
    """Return the path through some keys, each taken as it is.

    >>> join("results", "outbox", 1, "a/b~c")
    '/results/outbox/1/a%2Fb%7Ec'
    """
    if "" in parts:
        raise RequestError("an empty key", where="path", remedy="name each part", kind="path")
    return "/" + "/".join(_quoted(str(part)) for part in parts)


# -- from text to steps

_Row: TypeAlias = "tuple[Text, object]"  # a key, decoded and without its type, and a value or a Path
_Rows: TypeAlias = "dict[str, object]"
_Params: TypeAlias = "tuple[Message, dict[str, Path]]"


@lru_cache(KEPT)  # the same few are asked again and again
def _bare(text: str) -> Path:
    return _path(Text.given(text), 0)


def _path(text: Text, depth: int, given: Iterable[_Row] = ()) -> Path:
    _check_characters(text)
    end = next(outside(text, "?"), len(text.chars))
    query = [text.cut(*match.span()) for match in _QUERY_PAIR.finditer(text.chars, end + 1)]
    parts = [split(_checked_part(part), "&") for part in split(text.cut(0, end), "/") if part.chars]
    _check_counts([head for head, *_ in parts], [pair for _, *inline in parts for pair in inline] + query)
    bare = [_step(head, depth, [_row(pair, depth) for pair in inline]) for head, *inline in parts]
    first = Path(tuple(step for step, _ in bare)).first
    last = first + len(bare) - 1
    from_message = _scoped(given, last)
    from_query = _scoped((_row(pair, depth, form=True) for pair in query), last)
    shared = _laid((EMPTY, {}), {**from_message.get(None, {}), **from_query.get(None, {})})

    def numbered(number: int, inline: _Rows) -> _Params:
        told = {key: row for key, row in from_message.get(number, {}).items() if key not in from_query.get(None, {})}
        return _laid(shared, {**told, **from_query.get(number, {}), **inline})

    steps: list[Step] = []
    for number, (step, inline) in enumerate(bare, first):
        params, nested = numbered(number, inline)
        steps.append(attrs.evolve(step, params=params, nested_params=nested))
    return Path(tuple(steps), *numbered(0, {}))


def _laid(under: _Params, rows: _Rows) -> _Params:
    """Return keys with some rows laid over them."""
    if not rows:
        return under
    paths = {key: value for key, value in rows.items() if isinstance(value, Path)}
    values = {key: value for key, value in rows.items() if key not in paths}
    kept = {key: path for key, path in under[1].items() if key not in rows}
    return under[0].set(values, explicit=True).without(*paths).public(), {**kept, **paths}


def _check_characters(text: Text) -> None:
    start = text.chars[: MAX_TEXT + 1].encode("utf-8", "surrogatepass")
    if len(start) > MAX_TEXT:
        index = len(start[:MAX_TEXT].decode("utf-8", "ignore"))
        raise text.error(index, f"more than {MAX_TEXT} bytes", "send what is long as a message")
    match = _UNWRITABLE.search(text.chars)
    if match:
        what = f"the character U+{ord(match[0]):04X}, which no path may hold"
        raise text.error(match.start(), what, "leave it out or percent-encode it")


def _checked_part(part: Text) -> Text:
    if part.chars[0] == "&":
        raise part.error(0, "a part without a name", "write a name before '&'")
    size = _size(part.chars)
    if size > MAX_PART:
        what = f"a part of {size} bytes, given at most {MAX_PART}"
        raise part.error(0, what, "send what is long in the query or as a message")
    return part


def _size(part: str) -> int:
    """Return the bytes of a part, a percent-encoded one being one."""
    return len(part.encode()) - 2 * part.count("%")


def _check_counts(heads: Sequence[Text], pairs: Sequence[Text]) -> None:
    if len(heads) > MAX_STEPS:
        raise heads[MAX_STEPS].error(0, f"more than {MAX_STEPS} steps", "ask in two requests")
    if len(pairs) > MAX_KEYS:
        raise pairs[MAX_KEYS].error(0, f"more than {MAX_KEYS} keys", "send them as a message")


def _step(head: Text, depth: int, inline: Iterable[_Row]) -> tuple[Step, _Rows]:
    """Return a step without its keys, and the keys that are written in its part."""
    rows = {_key(key): value for key, value in inline}
    start = head.offsets[0]
    if head.chars[0] == "(":
        inner, rest = head.unwrapped()
        if rest.chars[:1] not in ("", "~"):
            raise rest.error(0, "text after ')'", "go on with '/', '~device' or '&key=value'")
        return Step("", _device(rest), nested=_nested(inner, depth), start=start), rows
    sign = re.search(r"[=~]|$", head.chars)
    assert sign is not None
    if sign[0] == "=":
        key, value = _row(head, depth)
        return Step(_key(key), start=start), {_key(key): value, **rows}
    name = head.cut(0, sign.start()).plain("()+")
    return Step(normalize_key(name.chars), _device(head.cut(sign.start())), start=start), rows


def _device(text: Text) -> str | None:
    if not text.chars:
        return None
    if text.chars == "~":
        raise text.error(0, "'~' without a device", "write ~name@version")
    return normalize_key(text.cut(1).plain("()~=+").chars)


def _nested(text: Text, depth: int) -> Path:
    if depth == MAX_DEPTH:
        raise text.error(0, f"nested deeper than {MAX_DEPTH} levels", "resolve the inner path first")
    path = _path(text, depth + 1)
    if not path.steps:
        raise text.error(0, "an empty path in a path", "name a step")
    return path


# -- keys and their values


def _row(pair: Text, depth: int, *, form: bool = False) -> _Row:
    sign = pair.chars.find("=")
    written = pair.cut(0, sign) if sign >= 0 else pair
    key = written.decoded(form=True) if form else written.plain()
    plus = max(key.chars.rfind("+"), key.chars.rfind(" ") if form else -1)
    name, kind = (key.cut(0, plus), key.cut(plus + 1)) if plus >= 0 else (key, None)
    if not name.chars:
        raise pair.error(0, "an empty key", "write key=value")
    if sign >= 0:
        return name, _value(kind, pair.cut(sign + 1), depth, form)
    if kind is not None:
        raise key.error(plus, "a type without a value", "write key+type=value")
    return name, True


def _value(kind: Text | None, written: Text, depth: int, form: bool) -> object:
    if form or not written.chars.startswith("("):
        text = written.decoded(form=form)
        return text.chars if kind is None else _typed(kind, text, depth)
    if kind is not None and kind.chars.lower() != "resolve":
        raise kind.error(0, "a path under a type", "leave the type out, or write %28 for '('")
    inner, rest = written.unwrapped()
    if rest.chars:
        raise rest.error(0, "text after ')'", "begin with %28 if the value is no path")
    return _nested(inner, depth)


def _typed(kind: Text, text: Text, depth: int) -> object:
    return _nested(text, depth) if kind.chars.lower() == "resolve" else read(kind, text)


def _given_row(key: str, value: object) -> _Row:
    text = Text.given(key, key)
    name, kind = text.cut(0, max(key.rfind("+"), 0)), text.cut(key.rfind("+") + 1)
    if not name.chars or kind.chars.lower() not in (*TYPES, "resolve"):
        return text, value
    if not isinstance(value, str):
        raise kind.error(0, f"{type(value).__name__} under a type", "write the value as text, or leave the type out")
    return name, _typed(kind, Text.given(value, key), 0)


def _scoped(rows: Iterable[_Row], last: int) -> dict[int | None, _Rows]:
    """Return rows by the number of their step, those of every step under None."""
    scopes: dict[int | None, _Rows] = {}
    for text, value in rows:
        match = _SCOPE.fullmatch(text.chars)
        if match and (len(match[1]) > 2 or int(match[1]) > last):
            remedy = f"the last is {last}; if it is no scope, write the key inline, as &key=value"
            raise text.error(0, f"no step has the number {match[1][:20]}", remedy)
        number = int(match[1]) if match else None
        scopes.setdefault(number, {})[_key(text.cut(match.start(2)) if match else text)] = value
    return scopes


def _key(text: Text) -> str:
    key = normalize_key(text.chars)
    if is_private(key):
        raise text.error(0, f"{key[:80]!r} is a private key", "choose another name")
    return key


# -- from steps to text


def _rows_of(place: Path | Step) -> _Rows:
    return {**place.params, **place.nested_params}


def _is_shared(key: str, steps: Iterable[Step]) -> bool:
    """Tell whether a key of the base can be written once for every step."""
    return not _SCOPE.fullmatch(key) and all(key in step.params or key in step.nested_params for step in steps)


def _differing(rows: _Rows, others: _Rows) -> _Rows:
    return {key: value for key, value in rows.items() if key not in others or not _is_same(value, others[key])}


def _is_same(one: object, other: object) -> bool:
    # By bytes, since 1 == True == 1.0 in Python.
    if isinstance(one, Path) or isinstance(other, Path):
        return one == other
    return one is other or encode(one) == encode(other)


def _head_of(step: Step) -> str:
    name = f"({unparse(step.nested)[1:]})" if step.nested else _quoted(step.name)
    return name if step.device is None else f"{name}~{_quoted(step.device)}"


def _pair(key: str, value: object, *, form: bool = False) -> str:
    typed = "+" in key or (form and " " in key)  # else its last word would be taken for a type
    if value is True and not typed:
        return _quoted(key)
    if isinstance(value, Path) and not form:
        return f"{_quoted(key)}{'+resolve' if typed else ''}=({unparse(value)[1:]})"
    kind, text = ("resolve", unparse(value)) if isinstance(value, Path) else spelled(value)
    return f"{_quoted(key)}{f'+{kind}' if typed or kind != 'text' else ''}={_quoted(text)}"


def _quoted(text: str) -> str:
    return quote(checked_text(text), safe="@:,").replace("~", "%7E")
