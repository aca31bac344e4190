"""Month sheet as a printable HTML page and as an Excel workbook. The content is in `month_sheet`."""

from __future__ import annotations

from html import escape
from typing import BinaryIO

from openpyxl import Workbook

from zk_pipeline.operations.files.month_sheet import COLUMNS, FIGURES, MonthSheet, SheetDay, cells
from zk_pipeline.operations.files.table_writers import excel_cell

_WIDTHS = (12, 6, 12, 8, 10, 8, 8, 80)

_STYLE = """
@page { size: A4; margin: 15mm }
body { font: 10pt/1.35 system-ui, sans-serif; color: #111; max-width: 190mm; margin: 1em auto }
h1 { font-size: 14pt }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; border-bottom: 1px solid #bbb; padding: 2px 6px; vertical-align: top }
.figure { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.short { white-space: nowrap }
tr.weekend { background: #f2f2f2 }
tr.none td { color: #777 }
tr { break-inside: avoid }
dl { display: flex; flex-wrap: wrap; gap: 0 2em }
dt { font-weight: 600 }
dd { margin: 0 }
@media print {
  body { font-size: 8.5pt; line-height: 1.15; margin: 0 }
  h1 { font-size: 12pt; margin: 0 0 4pt }
  th, td { padding: 0 4px }
  dl { margin: 6pt 0 0 }
}
.signatures { display: flex; gap: 4em; margin-top: 3em }
.signatures span { border-top: 1px solid #111; flex: 1; padding-top: 2px }
"""


def as_html(sheet: MonthSheet) -> str:
    """A self-contained page: one A4 sheet when printed, no scripts, no external resources."""
    title = escape(sheet.title)
    head = "".join(_html_cell("th", number, name) for number, name in enumerate(COLUMNS))
    rows = "\n".join(_html_row(one) for one in sheet.days)
    totals = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in sheet.totals.items())
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
    """One worksheet: title, header, a row for each date, totals. Working time is in minutes, for calculations."""
    book = Workbook(write_only=True)
    page = book.create_sheet(f"{sheet.month:%Y-%m}")
    for letter, width in zip("ABCDEFGH", _WIDTHS, strict=True):
        page.column_dimensions[letter].width = width
    page.append([excel_cell(page, sheet.title)])
    page.append(["worked minutes" if name == "worked" else name for name in COLUMNS])
    for one in sheet.days:
        worked, count = (None, None) if one.day is None else (one.day.worked_minutes, one.day.punch_count)
        values = (one.work_date, one.weekday, one.shift, one.came, one.left, worked, count, one.remark)
        page.append([excel_cell(page, value) for value in values])
    for name, value in sheet.totals.items():
        page.append([name, None, None, None, None, value])
    book.save(stream)


def _html_row(one: SheetDay) -> str:
    kinds = (["weekend"] if one.work_date.weekday() >= 5 else []) + (["none"] if one.day is None else [])
    shown = "".join(_html_cell("td", number, text) for number, text in enumerate(cells(one)))
    return f'<tr class="{" ".join(kinds)}">{shown}</tr>'


def _html_cell(tag: str, column: int, text: str) -> str:
    kind = ' class="figure"' if COLUMNS[column] in FIGURES else "" if COLUMNS[column] == "remark" else ' class="short"'
    return f"<{tag}{kind}>{escape(text)}</{tag}>"
