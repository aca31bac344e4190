"""Keyset pagination: any page of a long list at about the same cost.

`OFFSET` sorts everything before the page: a million rows for page 10,000. Following page links needs no offset, since
each link contains the last keys of its page. A jump far into the list first counts rows per bucket of the order key, in
one scan without a sort, and then sorts only the bucket of the page.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
_WINDOW_DAYS = 366  # searched before all rows, for lists with `bounds`, unless rows of fewer days suffice
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
    ids: `relation` is then a join, which is executed once for the count and the page together. `bounds`, if set, is a
    relation of all rows, also of those that do not fulfil the conditions: the engine knows the number of rows and the
    extremes of columns from statistics. `excluded`, if set, is true for those of its rows that no list contains.
    """

    relation: str
    order: Sequence[Key]
    conditions: Sequence[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    numbered: str = ""
    bounds: str = ""
    excluded: str = ""

    @property
    def keys(self) -> list[Key]:
        return [*self.order, Key("id", "number", self.order[-1].descending)]

    def up_to(self, until: int | None) -> tuple[str, dict[str, object]]:
        """Condition of the rows up to that id, or of all, and its values. Even a condition that every row fulfils costs
        a scan of its column in a shared store.
        """
        if until is None:
            return " AND ".join(["true", *self.conditions]), dict(self.values)
        return " AND ".join(["id <= $until", *self.conditions]), {**self.values, "until": until}

    @property
    def is_by_time(self) -> bool:
        return self.order[0].kind in ("date", "instant")

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
class Extent:
    """Number of rows of `ListQuery.bounds`, their highest id, and the extremes of the first key if it is a time."""

    count: int
    newest: int
    lowest: Any = None
    highest: Any = None


@dataclass(frozen=True)
class Known:
    """Facts about the present rows of a list, so that a page is read without queries for them; each may be unknown.

    `extent`: that of `ListQuery.bounds`; `count`: number of rows; `buckets`: their number by bucket of the first key.
    """

    extent: Extent | None = None
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

    def buckets(self, connection: Connection, listing: ListQuery, until: int, count: int) -> Counter[Any]:
        """Number of rows by bucket, of the `count` rows up to `until`."""
        expression = listing.bucket
        made_at, known_until, known = self._held.get(expression, (0.0, 0, Counter[Any]()))
        is_old = self.monotonic() - made_at > self.seconds or known_until > until
        if not is_old and known_until == until and known.total() == count:
            return known
        if is_old or known_until == until or _count(connection, listing, known_until) != known.total():
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
    it contains `{chosen}`, that becomes the condition of the rows of the page, to be applied before its joins to a
    relation with `id` and the columns of `order`. `cache` is only for relations of immutable rows.
    """
    extent = known.extent or (read_extent(connection, listing) if listing.bounds else None)
    until, known, includes_all = _bounded(connection, listing, place.until, replace(known, extent=extent))
    skip = (place.number - 1) * place.size
    place, bound = replace(place, until=until), None if includes_all else until
    if listing.numbered and place.after is None and skip <= _SHALLOW and known.count is None:
        count, found = _count_and_keys(connection, listing, bound, place)
    else:
        count, found = _count_then_keys(connection, listing, bound, place, cache=cache, known=known)
    shown = found[: place.size]
    rows = _fetch(connection, listing, shown, columns, source or listing.relation)
    return Page(count, rows, until, tuple(shown[-1]) if shown else None, has_more=len(found) > place.size)


def read_extent(connection: Connection, listing: ListQuery) -> Extent:
    key = listing.order[0].column
    extremes = f", min({key}), max({key})" if listing.is_by_time else ""
    sql = f"SELECT count(*), coalesce(max(id), 0){extremes} FROM ({listing.bounds})"  # noqa: S608 (constant SQL)
    return Extent(*connection.execute(sql).fetchall()[0])


def _bounded(connection: Connection, listing: ListQuery, until: int | None, known: Known) -> tuple[int, Known, bool]:
    """The highest id of the list, what is known of the rows up to it, and whether these are all rows."""
    if known.extent is not None:
        newest = known.extent.newest
    elif until is None or known != Known():
        source = listing.numbered or listing.relation
        newest = _one(connection, f"SELECT coalesce(max(id), 0) FROM ({source})", {})  # noqa: S608 (constant SQL)
    else:
        return until, known, False
    if until is None or newest <= until:
        return newest if until is None else until, known, True
    return until, Known(known.extent), False


_Keys = list[tuple[Any, ...]]


def _count_then_keys(
    connection: Connection,
    listing: ListQuery,
    until: int | None,
    place: PageRequest,
    *,
    cache: BucketCache | None,
    known: Known,
) -> tuple[int, _Keys]:
    """Number of all rows, and the keys of those of the page and the next row."""
    extent = known.extent
    if known.count is not None:
        count = known.count
    elif extent is not None and until is None and not listing.conditions:
        count = extent.count - _count_excluded(connection, listing)
    else:
        count = _count(connection, listing, until)
    where, values = listing.up_to(until)
    skip, keys = 0, listing.keys
    if place.after is not None:
        where += f" AND {_behind(keys)}"
        values |= {f"after{number}": value for number, value in enumerate(place.after)}
    elif (skip := (place.number - 1) * place.size) >= count:
        return count, []
    elif skip > _SHALLOW or known.buckets is not None:
        if known.buckets is not None:
            buckets = known.buckets
        elif cache is not None and not listing.conditions:
            assert place.until is not None
            buckets = cache.buckets(connection, listing, place.until, count)
        else:
            buckets = _count_buckets(connection, listing, until)
        span = _span(buckets, keys[0], skip, place.size + 1)
        where += f" AND {keys[0].column} BETWEEN $lowest AND $highest"
        values |= {"lowest": span.lowest, "highest": span.highest}
        return count, _read_keys(connection, listing, _Chosen(where, values, place.size + 1, span.skip))
    chosen = _Chosen(where, values, place.size + 1, skip)
    if extent is not None and listing.is_by_time and count > skip + chosen.limit:
        lowest, highest = _selected(extent, listing.values)
        days = _days_of_rows(lowest, highest, (skip + chosen.limit) / count)
        edge = highest if keys[0].descending else lowest
        edge = edge if place.after is None else place.after[0]
        return count, _read_near_keys(connection, listing, chosen, edge, days)
    return count, _read_keys(connection, listing, chosen)


@dataclass(frozen=True)
class _Chosen:
    """Condition of rows with its values, and which of them: `limit` after the first `skip`."""

    where: str
    values: Mapping[str, object]
    limit: int
    skip: int


def _selected(extent: Extent, values: Mapping[str, object]) -> tuple[Any, Any]:
    """Extremes of the first key within the dates `first` and `last` of the conditions, extended by a day, as these are
    dates of any time zone.
    """
    lowest, highest = extent.lowest, extent.highest
    first, last = (_at(values.get(name), days, lowest) for name, days in (("first", -1), ("last", 2)))
    return lowest if first is None else max(first, lowest), highest if last is None else min(last, highest)


def _at(day: object, days: int, like: date) -> date | None:
    """That many days after `day`, as a date or an instant `like` another; None without a day."""
    moved = _days_from(day, days) if isinstance(day, date) else None
    if moved is None or not isinstance(like, datetime):
        return moved
    return datetime.combine(moved, datetime.min.time(), UTC)


def _days_of_rows(lowest: date, highest: date, share: float) -> int:
    """Days that contain this share of the rows, if these are distributed evenly; doubled, since they are not."""
    return 1 + int(2 * share * (highest - lowest).days)


def _read_near_keys(
    connection: Connection, listing: ListQuery, chosen: _Chosen, edge: Value | None, first_days: int
) -> _Keys:
    """Keys of rows that begin at the edge: first within some time of it, so that a shared store reads only a part of
    its files.
    """
    key = listing.order[0]
    for days in sorted({min(first_days, _WINDOW_DAYS), _WINDOW_DAYS}):
        end = _days_from(edge, -days if key.descending else days)
        if end is None:
            break
        near = f"{chosen.where} AND {key.column} {'>=' if key.descending else '<='} $window_end"
        values = {**chosen.values, "window_end": end}
        found = _read_keys(connection, listing, replace(chosen, where=near, values=values))
        if len(found) == chosen.limit:
            return found
    return _read_keys(connection, listing, chosen)


def _days_from(edge: Value | None, days: int) -> date | None:
    """That many days later; None where the calendar ends."""
    try:
        return edge + timedelta(days=days) if isinstance(edge, date) else None
    except OverflowError:
        return None


def _read_keys(connection: Connection, listing: ListQuery, chosen: _Chosen) -> _Keys:
    keys = listing.keys
    return connection.execute(
        f"""
        SELECT {", ".join(key.column for key in keys)} FROM ({listing.relation})
        WHERE {chosen.where} {_ordered(keys)} LIMIT {chosen.limit} OFFSET {chosen.skip}
        """,  # noqa: S608 (constant SQL, numbers)
        dict(chosen.values),
    ).fetchall()


def _ordered(keys: Sequence[Key]) -> str:
    directed = (f"{key.column} {'DESC' if key.descending else 'ASC'}" for key in keys)
    return f"ORDER BY {', '.join(directed)}"


def _count_and_keys(
    connection: Connection, listing: ListQuery, until: int | None, place: PageRequest
) -> tuple[int, _Keys]:
    """The same with one execution of the relation."""
    where, values = listing.up_to(until)
    columns = ", ".join(key.column for key in listing.keys)
    rows = connection.execute(
        f"""
        WITH listed AS MATERIALIZED (SELECT {columns} FROM ({listing.relation}) WHERE {where}),
        page AS (
            SELECT {columns} FROM listed {_ordered(listing.keys)}
            LIMIT {place.size + 1} OFFSET {(place.number - 1) * place.size}
        )
        SELECT total, page.* FROM (SELECT count(*) AS total FROM listed) LEFT JOIN page ON true {_ordered(listing.keys)}
        """,  # noqa: S608 (constant SQL, numbers)
        values,
    ).fetchall()
    return rows[0][0], [row[1:] for row in rows if row[-1] is not None]


def _fetch(
    connection: Connection, listing: ListQuery, shown: _Keys, columns: str, source: str
) -> list[tuple[Any, ...]]:
    """Rows of these keys in their order; the joins of `source` run for these only."""
    if not shown:
        return []
    ids = [row[-1] for row in shown]
    numbers = ", ".join(map(str, ids))
    values: dict[str, object] = {}
    if "{chosen}" in source:
        # A subquery becomes a semi-join, which DuckDB also applies in the scan: columns are read for the chosen rows
        # only. The other conditions exclude row groups.
        conditions = [f"id IN (SELECT unnest([{numbers}]::BIGINT[]))"]
        if listing.is_by_time:
            conditions.append(f"{listing.order[0].column} BETWEEN $earliest AND $latest")
            values = {"earliest": min(row[0] for row in shown), "latest": max(row[0] for row in shown)}
        if "user_id" in listing.values:
            conditions.append("user_id = $user_id")
            values["user_id"] = listing.values["user_id"]
        chosen = source.replace("{chosen}", " AND ".join(conditions))
    else:
        # A list that DuckDB knows when it plans, which it searches before the joins.
        chosen = f"SELECT * FROM ({source}) WHERE id IN ({numbers})"  # noqa: S608 (constant SQL, numbers)
    rows = connection.execute(f"SELECT id, {columns} FROM ({chosen})", values).fetchall()  # noqa: S608 (the same)
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


def _count(connection: Connection, listing: ListQuery, until: int | None) -> int:
    where, values = listing.up_to(until)
    return _one(connection, f"SELECT count(*) FROM ({listing.relation}) WHERE {where}", values)  # noqa: S608


def _count_excluded(connection: Connection, listing: ListQuery) -> int:
    if not listing.excluded:
        return 0
    return _one(connection, f"SELECT count(*) FROM ({listing.bounds}) WHERE {listing.excluded}", {})  # noqa: S608


def _count_buckets(connection: Connection, listing: ListQuery, until: int | None, *, above: int = 0) -> Counter[Any]:
    where, values = listing.up_to(until)
    rows = connection.execute(
        f"SELECT {listing.bucket}, count(*) FROM ({listing.relation}) "  # noqa: S608 (constant SQL)
        f"WHERE {where} AND id > $above GROUP BY 1",
        {**values, "above": above},
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
