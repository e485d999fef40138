"""A corpus of malformed records among good ones: seeded, of any size, and each says what it is."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

MEGABYTES = 10 * 1024 * 1024


def nested(levels: int, leaf: Any = 1) -> Any:
    """Return lists and objects in each other."""
    value = leaf
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


class Colour(enum.Enum):
    RED = "red"


# what becomes of a record: "good" rows are merged, "bad" ones are found in the quarantine
GOOD, BAD = "good", "bad"
Maker = Callable[[random.Random, int], Any]


def record(number: int, **values: Any) -> dict[str, Any]:
    """Return a good record."""
    return {
        "id": f"r{number}",
        "n": number % 1000,
        "x": number / 7,
        "at": "2024-01-15T10:00:00Z",
        "ok": True,
        "note": f"note {number}",
        **values,
    }


def line(number: int, text: str) -> str:
    """Return a good record as a line of JSON, with ``text`` in it."""
    return json.dumps(record(number))[:-1] + f", {text}}}"


MAKERS: dict[str, tuple[str, Maker]] = {
    # --- good, however odd
    "plain": (GOOD, lambda chance, n: record(n)),
    "line": (GOOD, lambda chance, n: json.dumps(record(n))),
    "bytes line": (GOOD, lambda chance, n: json.dumps(record(n)).encode()),
    "numbers as text": (GOOD, lambda chance, n: record(n, n=str(n % 1000), x=f"{n}.5")),
    "text of a number": (GOOD, lambda chance, n: record(n, note=n)),
    "NaN is NULL": (GOOD, lambda chance, n: record(n, x=float("nan"))),
    "infinite": (GOOD, lambda chance, n: record(n, x=chance.choice([float("inf"), float("-inf")]))),
    "NUL bytes": (GOOD, lambda chance, n: record(n, note="a\x00b\x00")),
    "half a surrogate pair": (GOOD, lambda chance, n: record(n, note=f"\ud83d {n} \udc00")),
    "mojibake": (GOOD, lambda chance, n: record(n, note="Ã¤Ã¶Ã¼ ï»¿\u202e")),
    "stray bytes as text": (GOOD, lambda chance, n: record(n, note=b"\xff\xfe" + str(n).encode())),
    "undeclared nesting": (GOOD, lambda chance, n: record(n, more=nested(chance.randrange(1, 100)))),
    "undeclared mixture": (GOOD, lambda chance, n: record(n, any=chance.choice([1, "x", None, True, [1], {"a": 2}]))),
    "undeclared huge number": (GOOD, lambda chance, n: record(n, any=10 ** chance.randrange(20, 4000))),
    "undeclared objects": (
        GOOD,
        lambda chance, n: record(n, any=chance.choice([uuid.UUID(int=n), Colour.RED, {3, 1}])),
    ),
    "spelled otherwise": (GOOD, lambda chance, n: {name.upper(): value for name, value in record(n).items()}),
    "far future": (GOOD, lambda chance, n: record(n, at="9999-12-31T23:59:59Z")),
    "a zone": (
        GOOD,
        lambda chance, n: record(n, at=dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14)))),
    ),
    "optional ones are missing": (GOOD, lambda chance, n: {name: record(n)[name] for name in ("id", "n", "at")}),
    # --- wrong types
    "text for a number": (BAD, lambda chance, n: record(n, n=chance.choice(["many", "", "1.5", "0x10", "\u0661e"]))),
    "a fraction for a count": (BAD, lambda chance, n: record(n, n=1.5)),
    "a truth for a number": (BAD, lambda chance, n: record(n, n=True, x=False)),
    "a number for a time": (BAD, lambda chance, n: record(n, at=1705312800)),
    "no time": (BAD, lambda chance, n: record(n, at=chance.choice(["yesterday", "2024-13-45", "10000-01-01", {}]))),
    "a list for a number": (BAD, lambda chance, n: record(n, n=[n], x={"value": n})),
    "no truth": (BAD, lambda chance, n: record(n, ok=chance.choice(["perhaps", 2, [], -1.0]))),
    "bytes for a number": (BAD, lambda chance, n: record(n, n=b"\x00\x01")),
    "NaN for a count": (BAD, lambda chance, n: record(n, n=float("nan"))),
    "infinite count": (BAD, lambda chance, n: record(n, n=float("inf"))),
    # --- huge numbers
    "beyond 64 bits": (BAD, lambda chance, n: record(n, n=2 ** chance.randrange(64, 200))),
    "thousands of digits": (BAD, lambda chance, n: record(n, n=10 ** chance.randrange(4500, 9000))),
    "thousands of digits undeclared": (BAD, lambda chance, n: record(n, any=10**5000)),
    "beyond floats": (BAD, lambda chance, n: record(n, x=10**400)),
    "huge decimals": (BAD, lambda chance, n: record(n, n=decimal.Decimal("1e400"))),
    "NaN and infinite decimals": (
        BAD,
        lambda chance, n: record(n, n=decimal.Decimal(chance.choice(["NaN", "sNaN", "Infinity"]))),
    ),
    # --- rules
    "out of bounds": (BAD, lambda chance, n: record(n, n=5000)),
    "no key": (BAD, lambda chance, n: record(n, id=None)),
    "no required value": (BAD, lambda chance, n: {"id": f"r{n}", "at": "2024-01-15"}),
    "nothing": (BAD, lambda chance, n: {}),
    # --- nesting
    "deep": (BAD, lambda chance, n: record(n, more=nested(chance.randrange(300, 5000)))),
    "deep, declared": (BAD, lambda chance, n: record(n, note=nested(2000), n=nested(2000))),
    "deep line": (BAD, lambda chance, n: line(n, '"more": ' + "[" * 3000 + "]" * 3000)),
    # --- names
    "an empty name": (BAD, lambda chance, n: record(n, **{chance.choice(["", "  ", "\t"]): 1})),
    "a very long name": (BAD, lambda chance, n: record(n, **{"k" * chance.randrange(300, 30_000): 1})),
    "a name that is not text": (BAD, lambda chance, n: {**record(n), chance.choice([1, None, (1, 2), True]): 1}),
    "a name that is not Unicode": (BAD, lambda chance, n: record(n, **{"\ud800": 1})),
    "two names that are one": (BAD, lambda chance, n: record(n, ID=f"r{n}")),
    # --- lines of JSON
    "no JSON": (BAD, lambda chance, n: json.dumps(record(n))[: chance.randrange(1, 40)]),
    "two in one line": (BAD, lambda chance, n: json.dumps(record(n)) * 2),
    "a name twice": (BAD, lambda chance, n: line(n, '"n": 1')),
    "a name twice inside": (BAD, lambda chance, n: line(n, '"more": {"a": 1, "a": 2}')),
    "a float that no float holds": (BAD, lambda chance, n: line(n, '"y": 1e999')),
    "digits without end": (BAD, lambda chance, n: line(n, f'"y": {"9" * 5000}')),
    "another encoding": (BAD, lambda chance, n: json.dumps(record(n, note="ä€"), ensure_ascii=False).encode("utf-16"))
    ,
    "latin 1": (BAD, lambda chance, n: json.dumps(record(n, note="äöü"), ensure_ascii=False).encode("latin-1")),
    "control characters": (BAD, lambda chance, n: '{"id": "a\x00b", "n": 1}'),
    # --- no records
    "null": (BAD, lambda chance, n: None),
    # a blank line is not among them: it is skipped, and is not a record that was read
    "a scalar": (BAD, lambda chance, n: chance.choice([5, 1.5, True, "text", "null", "[]", b"0"])),
    "a list": (BAD, lambda chance, n: [record(n)]),
}  # fmt: skip


def large(number: int) -> list[tuple[str, Any]]:
    """Return records of 10 MB: good, bad, and a line."""
    text = "ä\x00" * (MEGABYTES // 3)
    return [
        (GOOD, record(number, note=text)),
        (BAD, record(number + 1, note=text, n="many")),
        (BAD, record(number + 2, **{"more": text, "": 1})),
        (BAD, '{"id": "' + text),
    ]


def corpus(count: int, seed: int = 1, megabytes: int = 1) -> Iterator[tuple[str, Any]]:
    """
    Yield ``count`` pairs: what becomes of a record, and the record.

    :param megabytes: how many times four records of 10 MB are among them.
    """
    chance = random.Random(seed)
    names = list(MAKERS)
    places = {chance.randrange(count) for _ in range(megabytes)}
    made = 0
    while made < count:
        if made in places:
            yield from large(made)
            places.discard(made)
            made += 4
            continue
        # half of a real source is good, at least
        fate, maker = MAKERS["plain" if chance.random() < 0.3 else chance.choice(names)]
        yield fate, maker(chance, made)
        made += 1
