"""Month sheet as a printable HTML page and as an Excel workbook. The content is in `month_sheet`."""

from __future__ import annotations

from datetime import date, timedelta
from html import escape
from typing import Any, BinaryIO

from openpyxl import Workbook
from openpyxl.cell import Cell, WriteOnlyCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

from zk_pipeline.operations.files.month_sheet import FIGURES, MonthSheet, SheetDay, cells, shown
from zk_pipeline.operations.files.table_writers import excel_cell

_WIDTHS = {"date": 12, "day": 6, "site": 16, "shift": 12, "out": 10, "left early": 10, "status": 20, "remark": 80}
_DURATION = "[h]:mm"
_BOLD = Font(bold=True)
_SHADE = PatternFill("solid", fgColor="F2F2F2")

_STYLE = """
@page { size: A4; margin: 15mm }
body { font: 10pt/1.35 system-ui, sans-serif; color: #111; max-width: 270mm; margin: 1em auto }
h1 { font-size: 14pt }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; border-bottom: 1px solid #bbb; padding: 2px 6px; vertical-align: top }
.figure { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.short { white-space: nowrap }
td:last-child { width: 35% }
tr.off { background: #f2f2f2; print-color-adjust: exact }
tr.none td { color: #777 }
tr { break-inside: avoid }
dl { display: flex; flex-wrap: wrap; gap: 0 2em }
dt { font-weight: 600 }
dd { margin: 0 }
@media print {
  body { font-size: 7.5pt; line-height: 1.15; margin: 0 }
  h1 { font-size: 12pt; margin: 0 0 4pt }
  th, td { padding: 0 3px }
  dl { margin: 6pt 0 0 }
}
.signatures { display: flex; gap: 4em; margin-top: 3em }
.signatures span { border-top: 1px solid #111; flex: 1; padding-top: 2px }
"""


def as_html(sheet: MonthSheet) -> str:
    """A self-contained page: one A4 sheet when printed, no scripts, no external resources."""
    title = escape(sheet.title)
    head = "".join(_html_cell("th", name, name) for name in sheet.columns)
    rows = "\n".join(_html_row(one, sheet.columns) for one in sheet.days)
    totals = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(shown(value))}</dd></div>" for name, value in sheet.totals.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>
<body><h1>{title}</h1>
<table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table>
<dl>{totals}</dl>
<div class="signatures"><span>employee</span><span>supervisor</span></div>
</body></html>
"""


def write_excel(sheet: MonthSheet, stream: BinaryIO) -> None:
    """One worksheet: title, header, the rows of the dates, their sums, and the totals. Dates, times and durations are
    numbers with a format, for calculations: `out` minus `in` is the time between them, also after midnight.
    """
    book = Workbook(write_only=True)
    page = book.create_sheet(f"{sheet.month:%Y-%m}")
    for number, name in enumerate(sheet.columns, start=1):
        page.column_dimensions[get_column_letter(number)].width = _WIDTHS.get(name, 8)
    page.freeze_panes = "A3"
    page.append([_cell(page, sheet.title, is_bold=True)])
    page.append([_cell(page, name, is_bold=True) for name in sheet.columns])
    for one in sheet.days:
        values = _values(one)
        page.append([_cell(page, values[name], column=name, is_shaded=one.is_off) for name in sheet.columns])
    sums: dict[str, object] = {"date": "total", **sheet.durations}
    page.append([_cell(page, sums.get(name), is_bold=True) for name in sheet.columns])
    between = [None] * (sheet.columns.index("worked") - 1)
    for label, total in sheet.totals.items():
        page.append([label, *between, _cell(page, total)])
    book.save(stream)


def _values(one: SheetDay) -> dict[str, object]:
    """The values of a date by column; texts as in all forms of the sheet."""
    return {
        **{name: text or None for name, text in cells(one).items()},
        "date": one.work_date,
        "in": one.came,
        "out": one.left,
        "break": one.break_taken,
        "worked": one.worked,
        "overtime": one.overtime,
        "late": one.late,
        "left early": one.left_early,
        "punches": None if one.day is None else one.day.punch_count,
    }


def _cell(
    page: WriteOnlyWorksheet, value: object, *, column: str = "", is_bold: bool = False, is_shaded: bool = False
) -> Cell:
    made: Any = excel_cell(page, value)
    cell = made if isinstance(made, Cell) else WriteOnlyCell(page, made)
    if isinstance(value, timedelta):
        is_clock = column in {"in", "out"}
        cell.number_format = _DURATION if not is_clock else f'hh:mm" {value.days:+}"' if value.days else "hh:mm"
    elif isinstance(value, date):
        cell.number_format = "yyyy-mm-dd"
    if is_bold:
        cell.font = _BOLD
    if is_shaded:
        cell.fill = _SHADE
    return cell


def _html_row(one: SheetDay, columns: tuple[str, ...]) -> str:
    kinds = (["off"] if one.is_off else []) + (["none"] if one.day is None else [])
    texts = cells(one)
    return f'<tr class="{" ".join(kinds)}">{"".join(_html_cell("td", name, texts[name]) for name in columns)}</tr>'


def _html_cell(tag: str, column: str, text: str) -> str:
    kind = ' class="figure"' if column in FIGURES else "" if column in {"status", "remark"} else ' class="short"'
    return f"<{tag}{kind}>{escape(text)}</{tag}>"
