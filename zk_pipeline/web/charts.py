"""Charts as inline SVG and heat maps as tables, each with a text alternative. Colours are in `static/charts.css`.

Positions across are percentages and heights are pixels, so that a chart fits any width and its text keeps its size.
Every text may come from a terminal: all are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby, pairwise

from markupsafe import Markup, escape

from zk_pipeline.web.formatting import NOTHING

_HEIGHT, _TOP, _AXIS = 150, 14, 20  # pixels: of the plot, above it, of the labels below it
_NARROWEST = 280  # pixels of a plot on the narrowest screen
_CHARACTER, _GAP = 7, 10  # pixels of a character of a label, between two labels
_STRIDES = (1, 2, 3, 4, 6, 7, 8, 12, 14, 24, 28, 52)
_SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_EDGE = 88, 22, 3
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NOTHING = Markup()
_EMPTY = Markup('<p class="muted">No data yet.</p>')

Shown = Callable[[float], str]


@dataclass(frozen=True)
class Bar:
    """One bar. `value`: None without data, such as an hour to come; `usual`: a mark for comparison; `failed`: a part of
    another colour on top of `value`.
    """

    label: str
    value: float | None
    usual: float | None = None
    failed: float = 0

    @property
    def top(self) -> float:
        return max((self.value or 0) + self.failed, self.usual or 0)


@dataclass(frozen=True)
class Series:
    """One line; None are gaps. `kind`: CSS class `first`, `second`, `usual`, `ok`, `warn` or `bad`."""

    name: str
    values: Sequence[float | None]
    kind: str = "first"


@dataclass(frozen=True)
class Range:
    """Values of a vertical axis, with zero: `bottom` is not above it, `top` not below it."""

    top: float
    bottom: float = 0

    def share(self, value: float) -> float:
        """Distance of the value from the top, 0 to 1 of the height."""
        return 1 - min(1.0, max(0.0, (value - self.bottom) / (self.top - self.bottom)))

    def y(self, value: float) -> float:
        """Pixels from the top of the chart."""
        return _TOP + _HEIGHT * self.share(value)


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map. `kind`: CSS class `ok`, `warn`, `bad`, `off`, `none` or `level1` to `level4`; `text`: its
    meaning in words; `mark`: one visible character, because a colour alone is not seen by all.
    """

    kind: str
    text: str
    mark: str = ""


@dataclass(frozen=True)
class MatrixRow:
    """One row of a heat matrix; `address` links its name."""

    name: str
    cells: Sequence[Cell]
    address: str | None = None


@dataclass(frozen=True)
class CalendarDay:
    """One day of a calendar; `address` links its number. Its `cell.mark` is not shown."""

    day: date
    cell: Cell
    address: str | None = None


def whole(value: float) -> str:
    """A number with separators and at most one decimal, `1,234` or `0.5`."""
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.1f}"


def compact(value: float) -> str:
    """A number of an axis in at most five characters, `1.2k`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def bar_chart(title: str, bars: Sequence[Bar], shown: Shown = whole, axis: Shown = compact) -> Markup:
    """Vertical bars from zero. `shown` formats values in words, `axis` those of the axis."""
    if not bars:
        return _EMPTY
    top = _nice_top(max(0, *(bar.top for bar in bars)))
    step = 100 / len(bars)
    marks = _joined(_bar(bar, number * step, step, top, shown) for number, bar in enumerate(bars))
    labels = _labels([bar.label for bar in bars], [(number + 0.5) * step for number in range(len(bars))])
    return _chart(title, _bars_in_words(bars, shown), Range(top), axis, marks + labels)


def line_chart(
    title: str, series: Sequence[Series], labels: Sequence[str], shown: Shown = whole, axis: Shown = compact
) -> Markup:
    """Lines over the same positions, one per label. The axis has zero, and values below it if there are any."""
    values = [value for one in series for value in one.values if value is not None]
    if not values or not labels:
        return _EMPTY
    low, high = min(values), max(values)
    axis_range = Range(0 if low < 0 and high <= 0 else _nice_top(max(0, high)), -_nice_top(-low) if low < 0 else 0)
    places = [50.0] if len(labels) == 1 else [number * 100 / (len(labels) - 1) for number in range(len(labels))]
    lines = _joined(_line(one, places, axis_range) for one in series)
    hovers = _joined(_hover(series, number, labels[number], places, shown) for number in range(len(labels)))
    words = " ".join(_series_in_words(one, labels, shown) for one in series)
    return _chart(title, words, axis_range, axis, lines + _labels(labels, places) + hovers)


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """Colours of a chart or heat map with their meaning: (CSS class, text)."""
    items = _joined(
        Markup('<li><svg class="swatch" width="12" height="12" aria-hidden="true"><rect class="{}" width="12" ').format(
            kind
        )
        + Markup('height="12" rx="2"/></svg> {}</li>').format(text)
        for kind, text in entries
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


def sparkline(values: Sequence[float | None], label: str) -> Markup:
    """A small line without axes, for a cell of a table; `label` is its text alternative."""
    known = [value for value in values if value is not None]
    if not known:
        return Markup('<span class="muted" title="{}">{}</span>').format(label, NOTHING)
    top = max(*known, 0) or 1
    width, height = _SPARK_WIDTH - 2 * _SPARK_EDGE, _SPARK_HEIGHT - 2 * _SPARK_EDGE
    step = width / max(1, len(values) - 1)
    points = [
        None if value is None else (_SPARK_EDGE + number * step, _SPARK_EDGE + height * (1 - max(0, value) / top))
        for number, value in enumerate(values)
    ]
    end = next(point for point in reversed(points) if point is not None)
    return Markup(
        '<svg class="spark" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}">'
        '<title>{}</title><path class="first" d="{}"/><circle class="first" cx="{}" cy="{}" r="2"/></svg>'
    ).format(
        label, _SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_WIDTH, _SPARK_HEIGHT, label, _path(points), _px(end[0]), _px(end[1])
    )


def heat_matrix(caption: str, columns: Sequence[str], rows: Sequence[MatrixRow], corner: str = "") -> Markup:
    """A table with a coloured cell per row and column. Empty column names continue the name to their left, which is
    shown once over all of them.
    """
    if not rows:
        return _EMPTY
    heads, body = _joined(_column_heads(columns)), _joined(_matrix_row(row) for row in rows)
    return Markup(
        '<table class="heat"><caption class="unseen">{}</caption><thead><tr><th scope="col">{}</th>{}</tr></thead>'
        "<tbody>{}</tbody></table>"
    ).format(caption, corner, heads, body)


def calendar_heat_map(caption: str, days: Sequence[CalendarDay]) -> Markup:
    """A small calendar per month, weeks from Monday, from the first to the last month of `days`, which are in order."""
    if not days:
        return _EMPTY
    months = _joined(
        _month(caption, list(found)) for _, found in groupby(days, key=lambda one: (one.day.year, one.day.month))
    )
    return Markup('<div class="months">{}</div>').format(months)


def _joined(parts: Iterable[Markup]) -> Markup:
    return _NOTHING.join(parts)


def _chart(title: str, words: str, axis_range: Range, axis: Shown, content: Markup) -> Markup:
    height = _TOP + _HEIGHT + _AXIS
    return Markup(
        '<svg class="chart" role="img" width="100%" height="{}"><title>{}</title><desc>{}</desc>{}{}</svg>'
    ).format(height, title, words, _grid(axis_range, axis), content)


def _grid(axis_range: Range, axis: Shown) -> Markup:
    """Lines at both ends, and at zero or in the middle, labelled in the padding on the left. A label that is the same
    as another after rounding is left out.
    """
    top, bottom = axis_range.top, axis_range.bottom
    named: dict[str, float] = {}
    for value in (0, top, bottom, (top + bottom) / 2):
        named.setdefault(axis(value), value)
    middle = 0 if top and bottom else (top + bottom) / 2
    labels = {value: label for label, value in named.items()}
    return _joined(
        Markup('<line class="{}" x1="0" x2="100%" y1="{}" y2="{}"/><text class="scale" x="-6" y="{}">{}</text>').format(
            "zero" if value == 0 else "grid",
            *([_px(axis_range.y(value))] * 2),
            _px(axis_range.y(value) + 4),
            labels.get(value, ""),
        )
        for value in sorted({bottom, middle, top})
    )


def _bar(bar: Bar, left: float, step: float, top: float, shown: Shown) -> Markup:
    words, parts = bar.label, []
    inner, width = left + step * 0.14, step * 0.72
    if bar.value is not None:
        parts.append(_rectangle("column", (inner, width), 0, bar.value, top))
        words += f": {shown(bar.value)}"
    if bar.failed:
        parts.append(_rectangle("column bad", (inner, width), bar.value or 0, bar.failed, top))
        words += f", failed {shown(bar.failed)}"
    if bar.usual:
        y, mark = _px(_y(bar.usual, top)), Markup('<line class="usual" x1="{}%" x2="{}%" y1="{}" y2="{}"/>')
        parts.append(mark.format(_px(left + step * 0.06), _px(left + step * 0.94), y, y))
    words += "" if bar.usual is None else f" (usual {shown(bar.usual)})"
    return _region(left, step, words, _joined(parts))


def _rectangle(kind: str, across: tuple[float, float], base: float, value: float, top: float) -> Markup:
    """A rectangle of `value` above `base`; `across`: its left edge and width in percent."""
    y = _y(base + value, top)
    return Markup('<rect class="{}" x="{}%" width="{}%" y="{}" height="{}"/>').format(
        kind, *map(_px, across), _px(y), _px(_y(base, top) - y)
    )


def _region(left: float, width: float, words: str, content: Markup = _NOTHING) -> Markup:
    """Content with a text that the pointer shows over the whole height."""
    area = Markup('<rect class="hover" x="{}%" width="{}%" y="{}" height="{}"/>')
    return Markup("<g><title>{}</title>{}{}</g>").format(
        words, area.format(_px(left), _px(width), _TOP, _HEIGHT), content
    )


def _hover(series: Sequence[Series], number: int, label: str, places: Sequence[float], shown: Shown) -> Markup:
    step = 100 / len(places)
    left = min(max(0.0, places[number] - step / 2), 100 - step)
    known = [(one.name, one.values[number]) for one in series if number < len(one.values)]
    words = ", ".join(f"{name} {NOTHING if value is None else shown(value)}" for name, value in known)
    return _region(left, step, f"{label}: {words}")


def _line(one: Series, places: Sequence[float], axis_range: Range) -> Markup:
    """The line in a plot of 100 by 100 units, stretched to the chart; single values are dots."""
    points = [
        None if value is None else (place, 100 * axis_range.share(value))
        for place, value in zip(places, one.values, strict=False)
    ]
    around = [None, *points, None]
    alone = [
        point
        for before, point, after in zip(around, points, around[2:], strict=False)
        if point is not None and before is None and after is None
    ]
    dots = _joined(
        Markup('<circle class="{}" cx="{}%" cy="{}" r="3"/>').format(one.kind, _px(x), _px(_TOP + y * _HEIGHT / 100))
        for x, y in alone
    )
    line = Markup(
        '<svg x="0" y="{}" width="100%" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none" '
        'overflow="visible">'
        '<path class="{}" d="{}" vector-effect="non-scaling-stroke"/></svg>'
    ).format(_TOP, _HEIGHT, one.kind, _path(points))
    return line + dots


def _labels(labels: Sequence[str], places: Sequence[float]) -> Markup:
    """Labels below the plot, as many as fit the narrowest screen."""
    widest = max((len(label) for label in labels), default=0) * _CHARACTER + _GAP
    most = max(2, _NARROWEST // widest)
    stride = next((one for one in _STRIDES if len(labels) <= one * most), math.ceil(len(labels) / most))
    return _joined(
        Markup('<text class="label" x="{}%" y="{}">{}</text>').format(_px(place), _TOP + _HEIGHT + 15, label)
        for label, place in list(zip(labels, places, strict=True))[::stride]
    )


def _column_heads(columns: Sequence[str]) -> Iterable[Markup]:
    starts = [number for number, name in enumerate(columns) if name or number == 0]
    for start, end in pairwise([*starts, len(columns)]):
        yield Markup('<th scope="col" colspan="{}">{}</th>').format(end - start, columns[start])


def _matrix_row(row: MatrixRow) -> Markup:
    name = Markup('<a href="{}">{}</a>').format(row.address, row.name) if row.address else escape(row.name)
    cells = _joined(
        Markup(
            '<td class="cell {}" title="{}"><span class="unseen">{}</span><span aria-hidden="true">{}</span></td>'
        ).format(cell.kind, cell.text, cell.text, cell.mark)
        for cell in row.cells
    )
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(name, cells)


def _month(caption: str, days: Sequence[CalendarDay]) -> Markup:
    known, first = {one.day: one for one in days}, days[0].day.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    start = first - timedelta(days=first.weekday())
    weeks = range(math.ceil((following - start).days / 7))
    rows = _joined(
        Markup("<tr>{}</tr>").format(
            _joined(_day(known, start + timedelta(days=7 * week + number), first) for number in range(7))
        )
        for week in weeks
    )
    heads = _joined(
        Markup('<th scope="col"><abbr title="{}">{}</abbr></th>').format(name, name[0]) for name in _WEEKDAYS
    )
    return Markup(
        '<table class="heat calendar"><caption>{}<span class="unseen">, {}</span></caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
    ).format(f"{first:%B %Y}", caption, heads, rows)


def _day(known: dict[date, CalendarDay], day: date, month: date) -> Markup:
    if day.month != month.month:
        return Markup("<td></td>")
    one = known.get(day)
    if one is None:
        return Markup('<td class="cell none">{}</td>').format(day.day)
    number = Markup('{}<span class="unseen"> {}</span>').format(day.day, one.cell.text)
    if one.address:
        number = Markup('<a href="{}">{}</a>').format(one.address, number)
    return Markup('<td class="cell {}" title="{}">{}</td>').format(one.cell.kind, f"{day}: {one.cell.text}", number)


def _bars_in_words(bars: Sequence[Bar], shown: Shown) -> str:
    known = [bar for bar in bars if bar.value is not None]
    if not known:
        return "No values yet."
    highest = max(known, key=lambda bar: bar.value or 0)
    total, failed = sum(bar.value or 0 for bar in known), sum(bar.failed for bar in bars)
    usual = [bar.usual for bar in known if bar.usual is not None]
    words = f"Total {shown(total)}; highest {shown(highest.value or 0)} at {highest.label}"
    words += f"; usual total until then {shown(sum(usual))}" if usual else ""
    return f"{words}{f'; failed {shown(failed)}' if failed else ''}."


def _series_in_words(one: Series, labels: Sequence[str], shown: Shown) -> str:
    known = [(value, label) for value, label in zip(one.values, labels, strict=False) if value is not None]
    if not known:
        return f"{one.name}: no values."
    highest, where = max(known)
    lowest, lowest_where = min(known)
    low = f", lowest {shown(lowest)} at {lowest_where}" if lowest < 0 else ""
    return f"{one.name}: latest {shown(known[-1][0])}, highest {shown(highest)} at {where}{low}, {len(known)} values."


def _nice_top(value: float) -> float:
    """The smallest 1, 2, 4, 5 or 8 times a power of ten that is at least `value`; 2 for 0 and 1, which have no half."""
    if value in (0, 1):
        return 2
    size = 10.0 ** math.floor(math.log10(value))
    return next((size * factor for factor in (1, 2, 4, 5, 8) if size * factor >= value), size * 10)


def _y(value: float, top: float) -> float:
    """Pixels from the top of a chart from zero to `top`."""
    return Range(top).y(value)


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """SVG path through the points, with a gap at each None."""
    commands, is_drawing = [], False
    for point in points:
        if point is not None:
            commands.append(f"{'L' if is_drawing else 'M'}{_px(point[0])} {_px(point[1])}")
        is_drawing = point is not None
    return "".join(commands)


def _px(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
