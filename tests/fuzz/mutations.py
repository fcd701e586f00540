"""Changes of bytes, of texts and of what stands in JSON, by chance.

A mutation is `(rng, content) -> content`, of bytes. The same `rng` gives the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.support.hostile_texts import HOSTILE

Mutation = Callable[[Random, bytes], bytes]

INTEGERS = (0, 1, -1, 2, 127, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
LARGE = (2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**30, 10**400)
FLOATS = (0.5, -0.0, 1e-45, 1e308, float("nan"), float("inf"), float("-inf"))
PATHS = ("../secret", "/dev/zero", "/etc/passwd", "..", ".", "", "a\0b", "pipe", "~")
TEXTS = (*HOSTILE.values(), *PATHS, "a" * 5000, "(a+)+$", "{}", "{0}", "%s", "null")
_RAW = "\ue000raw\ue001"
"""Marks in a document what JSON's own writer would not write."""


def flip_bits(rng: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(rng: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    start, stop = _span(rng, content, 16)
    fill = rng.choice((0, 255, 0x80, rng.randrange(256)))
    changed[start:stop] = bytes([fill]) * (stop - start)
    return bytes(changed)


def cut(rng: Random, content: bytes) -> bytes:
    """The end is missing, or something in the middle."""
    if rng.random() < 0.5:
        return content[: rng.randrange(len(content) + 1)]
    start, stop = _span(rng, content, len(content))
    return content[:start] + content[stop:]


def insert(rng: Random, content: bytes) -> bytes:
    start, _ = _span(rng, content, 1)
    new = rng.choice((b"\0", b"\xff\xfe", b"\xef\xbb\xbf", rng.randbytes(9), b"\n" * 3))
    return content[:start] + new + content[start:]


def splice(rng: Random, content: bytes) -> bytes:
    """A part stands a second time, in place of others or between them."""
    start, stop = _span(rng, content, 64)
    at, _ = _span(rng, content, 1)
    part = content[start:stop]
    end = at + (len(part) if rng.random() < 0.5 else 0)
    return content[:at] + part + content[end:]


def append(rng: Random, content: bytes) -> bytes:
    return content + rng.choice((b"\0", b"}", rng.randbytes(64), content, b"\0" * 4096))


def set_number(rng: Random, content: bytes) -> bytes:
    """Another integer of 1 to 8 bytes, at the beginning more often than elsewhere."""
    size = rng.choice((1, 2, 4, 8))
    if len(content) < size:
        return content
    last = len(content) - size
    at = rng.randrange(min(last, 64) + 1 if rng.random() < 0.4 else last + 1)
    at -= at % size if rng.random() < 0.7 else 0
    value = int.from_bytes(content[at : at + size], "little")
    near = (value + 1, value - 1, value * 2, value ^ 0x80, value + 256)
    number = rng.choice((*INTEGERS, *LARGE[:6], *near)) % 256**size
    order = rng.choice(("little", "little", "big"))
    return content[:at] + number.to_bytes(size, order) + content[at + size :]


def empty(rng: Random, content: bytes) -> bytes:
    return rng.choice((b"", b"\0" * len(content), rng.randbytes(min(len(content), 99))))


BYTES: tuple[Mutation, ...] = (
    *(flip_bits, set_bytes, cut, insert, splice, append, set_number, set_number),
)


def change_bytes(rng: Random, content: bytes) -> bytes:
    """One or a few changes of bytes."""
    if rng.random() < 0.01:
        return empty(rng, content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(BYTES)(rng, content)
    return content


def change_text(rng: Random, content: bytes) -> bytes:
    """Lines and words of a text file in another order, hostile, doubled or missing."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    new = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
    change = rng.randrange(7)
    if change == 0:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif change == 1:
        del lines[at]
    elif change == 2:
        lines.insert(at, new)
    elif change in (3, 4):
        words = lines[at].split(b" ")
        number = str(rng.choice((*INTEGERS, *LARGE, *FLOATS))).encode()
        words[rng.randrange(len(words))] = new if change == 3 else number
        lines[at] = b" ".join(words)
    elif change == 5:
        rng.shuffle(lines)
    else:
        start, _ = _span(rng, lines[at], 1)
        mark = rng.choice(
            (b'"', b"'", b",", b":", b"- ", b"&a ", b"*a", b"!!x ", b"\t")
        )
        lines[at] = lines[at][:start] + mark + lines[at][start:]
    return b"\n".join(lines)


def change_json(rng: Random, content: bytes) -> bytes:
    """One or a few changes of what a JSON document says, or of its bytes."""
    if rng.random() < 0.15:
        return change_bytes(rng, content)
    try:
        value = json.loads(content)
    except ValueError:
        return change_text(rng, content)
    raw: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = change_value(rng, value, raw)
    text = json.dumps(value, indent=rng.choice((None, None, 2)))
    for i in reversed(range(len(raw))):  # Later ones may hold earlier ones.
        text = text.replace(json.dumps(f"{_RAW}{i}"), raw[i])
    if rng.random() < 0.02:
        return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32", "utf-16-le")))
    return text.encode()


def change_json_lines(rng: Random, content: bytes) -> bytes:
    """A change of one line of JSON lines, or of their order and bytes."""
    if rng.random() < 0.3:
        return change_text(rng, content)
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = change_json(rng, lines[at])
    return b"\n".join(lines)


def change_value(rng: Random, value: Any, raw: list[str]) -> Any:
    """Return a JSON value with one change somewhere in it.

    Args:
        rng: What chooses.
        value: The value; it is changed in place where it can be.
        raw: Is given fragments of documents that no value stands for.
    """
    holders = list(_holders(value))
    if not holders or rng.random() < 0.03:
        return _other_value(rng, value, raw)
    holder = rng.choice(holders)
    if isinstance(holder, list):
        _change_list(rng, holder, raw)
    else:
        _change_object(rng, holder, raw)
    return value


def _holders(value: Any) -> list[Any]:
    """All objects and lists with something in them; of long lists the first ones."""
    found, todo = [], [value]
    while todo:
        one = todo.pop()
        inside = one.values() if isinstance(one, dict) else one
        if isinstance(one, dict | list) and one:
            found.append(one)
            todo += list(inside)[:40]
    return found


def _change_list(rng: Random, values: list[Any], raw: list[str]) -> None:
    at = rng.randrange(len(values))
    change = rng.randrange(6)
    if change == 0:
        del values[at]
    elif change == 1:
        values.insert(at, values[rng.randrange(len(values))])
    elif change == 2:
        values.clear()
    elif change == 3:
        rng.shuffle(values)
    else:
        values[at] = _other_value(rng, values[at], raw)


def _change_object(rng: Random, values: dict[str, Any], raw: list[str]) -> None:
    key = rng.choice(list(values))
    change = rng.randrange(10)
    if change == 0:
        del values[key]
    elif change == 1:
        values[_other_key(rng, key)] = values.pop(key)
    elif change == 2:
        other = rng.choice(list(values))
        values[key], values[other] = values[other], values[key]
    elif change == 3:
        values[rng.choice(TEXTS)] = values[key]
    elif change == 4:
        # The same key twice, which JSON allows and readers take the last of.
        fragment = f"{json.dumps(values[key])}, {json.dumps(key)}: "
        raw.append(fragment + json.dumps(_other_value(rng, values[key], [])))
        values[key] = f"{_RAW}{len(raw) - 1}"
    elif change == 5:
        values.clear()
    else:
        values[key] = _other_value(rng, values[key], raw)


def _other_key(rng: Random, key: str) -> str:
    at = rng.randrange(len(key) + 1)
    return key[:at] + rng.choice(("_", "", "x", "\x1b", " ")) + key[at + 1 :]


def _other_value(rng: Random, value: Any, raw: list[str]) -> Any:
    """A value in the place of another, often of its kind and near it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and rng.random() < 0.6:
        half = value // 2 if isinstance(value, int) else value / 2
        near = (value + 1, value - 1, value * 2, -value, value + 4, half, 0.75)
        return rng.choice((*near, *INTEGERS, *LARGE, *FLOATS))
    if isinstance(value, str) and rng.random() < 0.5:
        at = rng.randrange(len(value) + 1)
        return rng.choice((value[:at], value + value, rng.choice(TEXTS), value.upper()))
    kinds: tuple[Any, ...] = (None, True, False, [], {}, [None], {"a": 1}, [[]])
    texts = (rng.choice(TEXTS), "1", rng.choice(PATHS))
    numbers = (rng.choice(INTEGERS), rng.choice(LARGE), rng.choice(FLOATS))
    choice = rng.randrange(8)
    if choice == 0:
        depth = rng.choice((50, 900, 5000, 100_000))
        ends = rng.choice((("[", "]"), ('{"a":', "}")))
        inside = "1" if ends[0] != "[" else ""
        raw.append(ends[0] * depth + inside + ends[1] * depth)
        return f"{_RAW}{len(raw) - 1}"
    if choice == 1:
        fragments = ("-", "01", "1e999", "'a'", "nul", "//", '"\\ud800"', "9" * 5000)
        raw.append(rng.choice(fragments))
        return f"{_RAW}{len(raw) - 1}"
    if choice == 2:
        return [value, value]
    if choice == 3:
        return {"value": value}
    return rng.choice((*kinds, *texts, *numbers))


def _span(rng: Random, content: bytes, longest: int) -> tuple[int, int]:
    """A range of bytes, more often near the beginning or the end."""
    length = len(content)
    if not length:
        return 0, 0
    where = rng.random()
    start = rng.randrange(length)
    if where < 0.25:
        start = rng.randrange(min(length, 64))
    elif where < 0.4:
        start = length - 1 - rng.randrange(min(length, 64))
    return start, min(length, start + 1 + rng.randrange(max(1, longest)))
