"""Keyset pagination: any page of a long list at about the same cost.

`OFFSET` sorts everything before the page: a million rows for page 10,000. Following page links needs no offset, since
each link contains the last keys of its page. A jump far into the list first counts rows per bucket of the order key, in
one scan without a sort, and then sorts only the bucket of the page.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from zk_pipeline.store.engine.database import Connection

Value = str | int | bool | date | datetime
Kind = Literal["text", "number", "flag", "date", "instant"]

# Coarse enough for few buckets, fine enough to sort one quickly: 65,536 numbers, 19 hours.
_NUMBER_BITS, _INSTANT_BITS = 16, 36
_BUCKETS: Mapping[Kind, str] = {
    "text": "{key}",
    "number": f"{{key}} >> {_NUMBER_BITS}",
    "flag": "{key}",
    "date": "{key}",
    "instant": f"epoch_us({{key}}) >> {_INSTANT_BITS}",
}
_SHALLOW = 10_000  # rows that may be sorted and skipped
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Key:
    """A sortable column of a list; must not contain nulls."""

    column: str
    kind: Kind
    descending: bool = False


@dataclass(frozen=True)
class PageRequest:
    """Requested page. `until`: excludes rows with a higher id, so that new rows do not shift the pages. `after`: the
    page begins after the row with these key values and id, regardless of `number`.
    """

    number: int
    size: int
    until: int | None = None
    after: tuple[Value, ...] | None = None


@dataclass(frozen=True)
class ListQuery:
    """Query of a list: a relation with an `id`, conditions with their values, and an order, which `id` completes.

    All texts are constant SQL; user input is in `values` only. `numbered`, if set, is a cheaper relation with the same
    ids: `relation` is then a join, which is executed once for the count and the page together.
    """

    relation: str
    order: Sequence[Key]
    conditions: Sequence[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    numbered: str = ""

    @property
    def keys(self) -> list[Key]:
        return [*self.order, Key("id", "number", self.order[-1].descending)]

    @property
    def where(self) -> str:
        return " AND ".join(["id <= $until", *self.conditions])

    @property
    def bucket(self) -> str:
        return _BUCKETS[self.order[0].kind].format(key=self.order[0].column)


@dataclass(frozen=True)
class Page:
    """`count`: all rows up to `until`; `rows`: those of this page; `last`: keys of the last row, for `after`."""

    count: int
    rows: list[tuple[Any, ...]]
    until: int
    last: tuple[Value, ...] | None
    has_more: bool


@dataclass(frozen=True)
class Known:
    """Facts about the present rows of a list, so that a page is read without queries for them; each may be unknown.

    `newest`: the highest id, also of rows that do not fulfil the conditions; `count`: number of rows; `buckets`: their
    number by bucket of the first key.
    """

    newest: int | None = None
    count: int | None = None
    buckets: Counter[Any] | None = None


@dataclass
class BucketCache:
    """Cache of bucket counts for lists of immutable rows. New rows have higher ids and are added to the counts.

    An outdated count (rows were deleted) is discarded, and any count after `seconds`: a corrected time zone moves the
    punches of a terminal.
    """

    seconds: float = 300.0
    monotonic: Callable[[], float] = time.monotonic
    _held: dict[str, tuple[float, int, Counter[Any]]] = field(default_factory=dict)

    def buckets(self, connection: Connection, listing: ListQuery, until: int) -> Counter[Any]:
        expression = listing.bucket
        made_at, known_until, known = self._held.get(expression, (0.0, 0, Counter[Any]()))
        is_old = self.monotonic() - made_at > self.seconds or known_until > until
        if is_old or _count(connection, listing, {"until": known_until}) != known.total():
            made_at, known_until, known = self.monotonic(), 0, Counter()
        total = known + _count_buckets(connection, listing, until, above=known_until)
        if known_until <= until:
            self._held[expression] = (made_at, until, total)
        return total


def read_page(
    connection: Connection,
    listing: ListQuery,
    columns: str,
    place: PageRequest,
    *,
    source: str = "",
    cache: BucketCache | None = None,
    known: Known = Known(),
) -> Page:
    """Read a page, with `columns` of `source` (by default the relation of the list).

    `source` may have more columns than the relation that is counted and sorted, which is faster with few columns; where
    it contains `{chosen}`, it selects the ids of the page itself, before its joins. `cache` is only for relations of
    immutable rows.
    """
    until, known = _bounded(connection, listing, place.until, known)
    skip = (place.number - 1) * place.size
    if listing.numbered and place.after is None and skip <= _SHALLOW and known.count is None:
        count, found = _count_and_keys(connection, listing, until, place)
    else:
        count, found = _count_then_keys(connection, listing, until, place, cache=cache, known=known)
    shown = found[: place.size]
    rows = _fetch(connection, [row[-1] for row in shown], columns, source or listing.relation)
    return Page(count, rows, until, tuple(shown[-1]) if shown else None, has_more=len(found) > place.size)


def _bounded(connection: Connection, listing: ListQuery, until: int | None, known: Known) -> tuple[int, Known]:
    """The highest id of the list, and what is known of the rows up to it."""
    newest = known.newest
    if newest is None and (until is None or known != Known()):
        newest = _one(connection, f"SELECT coalesce(max(id), 0) FROM ({listing.numbered or listing.relation})", {})  # noqa: S608 (constant SQL)
    if until is None:
        assert newest is not None
        return newest, known
    return until, known if newest is not None and newest <= until else Known()


_Keys = list[tuple[Any, ...]]


def _count_then_keys(
    connection: Connection,
    listing: ListQuery,
    until: int,
    place: PageRequest,
    *,
    cache: BucketCache | None,
    known: Known,
) -> tuple[int, _Keys]:
    """Number of all rows, and the keys of those of the page and the next row."""
    values = {**listing.values, "until": until}
    count = _count(connection, listing, values) if known.count is None else known.count
    where, skip, keys = listing.where, 0, listing.keys
    if place.after is not None:
        where += f" AND {_behind(keys)}"
        values |= {f"after{number}": value for number, value in enumerate(place.after)}
    elif (skip := (place.number - 1) * place.size) >= count:
        return count, []
    elif skip > _SHALLOW or known.buckets is not None:
        if known.buckets is not None:
            buckets = known.buckets
        elif cache is not None and not listing.conditions:
            buckets = cache.buckets(connection, listing, until)
        else:
            buckets = _count_buckets(connection, listing, until)
        span = _span(buckets, keys[0], skip, place.size + 1)
        where += f" AND {keys[0].column} BETWEEN $lowest AND $highest"
        values |= {"lowest": span.lowest, "highest": span.highest}
        skip = span.skip
    found = connection.execute(
        f"""
        SELECT {", ".join(key.column for key in keys)} FROM ({listing.relation})
        WHERE {where} {_ordered(keys)} LIMIT {place.size + 1} OFFSET {skip}
        """,  # noqa: S608 (constant SQL, numbers)
        values,
    ).fetchall()
    return count, found


def _ordered(keys: Sequence[Key]) -> str:
    directed = (f"{key.column} {'DESC' if key.descending else 'ASC'}" for key in keys)
    return f"ORDER BY {', '.join(directed)}"


def _count_and_keys(connection: Connection, listing: ListQuery, until: int, place: PageRequest) -> tuple[int, _Keys]:
    """The same with one execution of the relation."""
    columns = ", ".join(key.column for key in listing.keys)
    rows = connection.execute(
        f"""
        WITH listed AS MATERIALIZED (SELECT {columns} FROM ({listing.relation}) WHERE {listing.where}),
        page AS (
            SELECT {columns} FROM listed {_ordered(listing.keys)}
            LIMIT {place.size + 1} OFFSET {(place.number - 1) * place.size}
        )
        SELECT total, page.* FROM (SELECT count(*) AS total FROM listed) LEFT JOIN page ON true {_ordered(listing.keys)}
        """,  # noqa: S608 (constant SQL, numbers)
        {**listing.values, "until": until},
    ).fetchall()
    return rows[0][0], [row[1:] for row in rows if row[-1] is not None]


def _fetch(connection: Connection, ids: list[int], columns: str, source: str) -> list[tuple[Any, ...]]:
    """Rows of these ids in their order; the joins of `source` run for these only."""
    if not ids:
        return []
    numbers = ", ".join(map(str, ids))
    # A subquery becomes a semi-join, which DuckDB also applies in the scan: columns are read for the chosen rows only.
    chosen = source.replace("{chosen}", f"SELECT unnest([{numbers}]::BIGINT[])")
    # Elsewhere a list that DuckDB knows when it plans, which it searches before the joins.
    where = "" if chosen != source else f"WHERE id IN ({numbers})"
    rows = connection.execute(f"SELECT id, {columns} FROM ({chosen}) {where}").fetchall()  # noqa: S608 (numbers)
    by_id = {row[0]: row[1:] for row in rows}
    return [by_id[number] for number in ids]


@dataclass(frozen=True)
class _Span:
    """Bounds of the first key for the buckets of a page, and the number of their rows before it."""

    lowest: Value
    highest: Value
    skip: int


def _span(buckets: Counter[Any], key: Key, skip: int, wanted: int) -> _Span:
    taken: list[Any] = []
    for bucket in sorted(buckets, reverse=key.descending):
        if not taken and skip >= buckets[bucket]:
            skip -= buckets[bucket]
            continue
        wanted -= buckets[bucket] - (skip if not taken else 0)
        taken.append(bucket)
        if wanted <= 0:
            break
    return _Span(_bound(key.kind, min(taken)), _bound(key.kind, max(taken), last=True), skip)


def _bound(kind: Kind, bucket: Any, *, last: bool = False) -> Value:
    """First or last possible value of a bucket."""
    bits = {"number": _NUMBER_BITS, "instant": _INSTANT_BITS}.get(kind)
    if bits is None:
        value: Value = bucket
        return value
    number = ((bucket + 1) << bits) - 1 if last else bucket << bits
    return number if kind == "number" else _EPOCH + timedelta(microseconds=number)


def _count(connection: Connection, listing: ListQuery, values: Mapping[str, object]) -> int:
    return _one(connection, f"SELECT count(*) FROM ({listing.relation}) WHERE {listing.where}", values)  # noqa: S608


def _count_buckets(connection: Connection, listing: ListQuery, until: int, *, above: int = 0) -> Counter[Any]:
    rows = connection.execute(
        f"SELECT {listing.bucket}, count(*) FROM ({listing.relation}) "  # noqa: S608 (constant SQL)
        f"WHERE {listing.where} AND id > $above GROUP BY 1",
        {**listing.values, "until": until, "above": above},
    ).fetchall()
    return Counter(dict(rows))


def _behind(keys: Sequence[Key]) -> str:
    """Condition for rows after the one whose keys are bound as `after0`, `after1` …"""
    alternatives = []
    for number, key in enumerate(keys):
        same = [f"{one.column} = $after{index}" for index, one in enumerate(keys[:number])]
        alternatives.append(" AND ".join([*same, f"{key.column} {'<' if key.descending else '>'} $after{number}"]))
    # Implied by the alternatives, but lets DuckDB skip row groups.
    pruning = f"{keys[0].column} {'<=' if keys[0].descending else '>='} $after0"
    return f"{pruning} AND ({' OR '.join(alternatives)})"


def _one(connection: Connection, sql: str, values: Mapping[str, object]) -> int:
    row = connection.execute(sql, dict(values)).fetchone()
    assert row is not None
    return int(row[0])
