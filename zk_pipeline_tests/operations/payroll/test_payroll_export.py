"""Payroll exports: profiles, rows, and sums that agree in every format."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.attendance.pay_classes import INFORMATION, PayClass
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.payroll.pay_files import write_payroll
from zk_pipeline.operations.payroll.pay_rows import pay_rows
from zk_pipeline.operations.payroll.profiles import BUILT_IN, Column, Profile, WageType, find_profile
from zk_pipeline.store.payroll.periods import PayrollPeriod, PayrollRows

KINDS = (*PayClass, *INFORMATION)
NOVEMBER = PayrollPeriod(
    "2026-11", date(2026, 11, 1), date(2026, 11, 30), "closed", datetime(2026, 11, 1, tzinfo=UTC), "cli:ada",
    datetime(2026, 12, 1, tzinfo=UTC), "cli:ada", None, None, None,
)  # fmt: skip
LODAS = """
profiles:
  - name: lodas
    format: csv
    delimiter: ";"
    decimal_mark: ","
    encoding: windows-1252
    header: false
    columns:
      - {field: user_id}
      - {field: name}
      - {text: "1"}
      - {field: wage_type}
      - {field: amount}
      - {field: adjustment_of}
    wage_types:
      - {code: "1000", classes: [regular]}
      - {code: "2025", classes: [overtime_weekday, weekly_overtime], multiplier: 1.25}
      - {code: "2050", classes: [overtime_rest_day, overtime_holiday], multiplier: 1.5}
      - {code: "3000", classes: [night]}
"""
FIXED = """
profiles:
  - name: host
    format: fixed
    unit: minutes
    columns:
      - {field: user_id, width: 6, align: right, pad: "0"}
      - {text: "|", width: 1}
      - {field: name, width: 4}
      - {text: "|", width: 1}
      - {classes: [regular, overtime_weekday, overtime_rest_day, overtime_holiday, weekly_overtime], width: 5, pad: "0"}
      - {classes: [night], width: 4}
"""


def row(user: str = "1", day: int = 2, *, site: str = "HQ", owner: str = "2026-11", **given: Any) -> dict[str, Any]:
    minutes = {f"{kind}_minutes": given.pop(str(kind), 0) for kind in KINDS}
    status = given.pop("status", "present")
    return {
        "owner": owner, "site": site, "user_id": user, "work_date": pd.Timestamp(2026, 11, day), "name": f"User {user}",
        "former_revision": None, "revision": 1, "attendance_status": status, "leave": None, **minutes,
        **given,
    }  # fmt: skip


def payroll(*rows: dict[str, Any], apart: Sequence[str] = ()) -> PayrollRows:
    columns = list(row())
    frame = pd.DataFrame(list(rows), columns=columns)
    totals = {f"{kind}_minutes": sum(one[f"{kind}_minutes"] for one in rows) for kind in KINDS}
    return PayrollRows(NOVEMBER, frame, totals, frozenset(apart))


MONTH = payroll(
    row(day=2, regular=480, overtime_weekday=25, night=30, late=5),
    row(day=3, regular=470, weekly_overtime=10),
    row("2", 2, overtime_holiday=100, status="worked_on_day_off", name="Ünal"),
    row("2", 3, status="absent"),
    row("2", 4, status="absent", leave="annual leave"),
    row("1", 30, owner="2026-10", regular=-20, overtime_weekday=0),
)


def written(rows: PayrollRows, profile: Profile, folder: Path = Path()) -> bytes:
    stream = io.BytesIO()
    write_payroll(rows, profile, stream, templates=folder)
    return stream.getvalue()


def declared(text: str, folder: Path, name: str) -> Profile:
    path = folder / "payroll_profiles.yaml"
    path.write_text(text, encoding="utf-8")
    return find_profile(name, path)


def test_the_built_in_csv_has_a_row_for_each_employee_and_each_adjusted_period_and_the_sums() -> None:
    assert written(MONTH, BUILT_IN[0]).decode().splitlines() == [
        "period,adjustment_of,user_id,name,sites,regular,overtime_weekday,overtime_rest_day,overtime_holiday,"
        "weekly_overtime,night,total,late,early_leave,days_present,days_half_day,days_worked_on_day_off,days_on_leave,days_absent",
        "2026-11,,1,User 1,HQ,15.83,0.42,0.00,0.00,0.17,0.50,16.42,0.08,0.00,2,0,0,0,0",
        "2026-11,2026-10,1,User 1,HQ,-0.33,0.00,0.00,0.00,0.00,0.00,-0.33,0.00,0.00,0,0,0,0,0",
        "2026-11,,2,Ünal,HQ,0.00,0.00,0.00,1.67,0.00,0.00,1.67,0.00,0.00,0,0,1,1,1",
        "total,,,,,15.50,0.42,0.00,1.67,0.17,0.50,17.76,0.08,0.00,2,0,1,1,1",
    ]


def test_a_period_without_rows_has_sums_of_nothing() -> None:
    assert (
        written(payroll(), BUILT_IN[0]).decode().splitlines()[1]
        == "total,,,,,0.00,0.00,0.00,0.00,0.00,0.00,0.00,0.00,0.00,0,0,0,0,0"
    )
    assert openpyxl.load_workbook(io.BytesIO(written(payroll(), BUILT_IN[1])))["2026-11"]["F2"].value == timedelta(0)


def test_excel_has_durations_that_add_up_also_negative_ones() -> None:
    book = openpyxl.load_workbook(io.BytesIO(written(MONTH, BUILT_IN[1])))
    assert book.epoch.year == 1904, "Excel shows negative durations in this date system only"
    head, *lines, total = book["2026-11"].iter_rows()
    column = {cell.value: number for number, cell in enumerate(head)}
    regular = [line[column["regular"]] for line in lines]
    assert [cell.value for cell in regular] == [timedelta(minutes=one) for one in (950, -20, 0)]
    assert {cell.number_format for cell in regular} == {"[h]:mm"}
    assert total[column["regular"]].value == timedelta(minutes=930)
    assert total[column["days_present"]].value == 2


def test_rows_per_wage_type_in_the_notation_of_another_country(tmp_path: Path) -> None:
    text = written(MONTH, declared(LODAS, tmp_path, "lodas")).decode("windows-1252")
    assert text.splitlines() == [
        "1;User 1;1;1000;15,83;",
        "1;User 1;1;2025;0,73;",  # 25 and 10 minutes at 1.25: 0.52 and 0.21 hours
        "1;User 1;1;3000;0,50;",
        "1;User 1;1;1000;-0,33;2026-10",
        "2;Ünal;1;2050;2,50;",
    ]


def test_fixed_widths_are_padded_and_never_cut_a_figure(tmp_path: Path) -> None:
    profile = declared(FIXED, tmp_path, "host")
    assert written(MONTH, profile).decode().splitlines() == [
        "000001|User|00985  30",
        "000001|User|-0020   0",
        "000002|Ünal|00100   0",
    ]
    with pytest.raises(UsageError, match="host is too narrow: 1000000 exceeds the width of user_id, 6"):
        written(payroll(row("1000000", regular=1)), profile)
    with pytest.raises(UsageError, match="host is too narrow: 100000 exceeds the width of"):
        written(payroll(row(regular=100_000)), profile)


def test_a_template_writes_any_other_format(tmp_path: Path) -> None:
    (tmp_path / "pay.xml").write_text(
        "<pay of='{{ period.period }}'>\n{% for row in rows %}{% for one in row.amounts if not one.is_zero %}"
        "<{{ one.wage_type }} who='{{ row.name|e }}'>{{ one.amount }}</{{ one.wage_type }}>\n{% endfor %}{% endfor %}"
        "<sum>{{ totals[0].amount }} of {{ rows|length }}</sum></pay>\n"
    )
    text = (
        "profiles:\n- name: x\n  format: template\n  template: pay.xml\n  unit: hh:mm\n  leave_out: [night]\n"
        "  wage_types:\n  - {code: W, classes: [regular, overtime_holiday, overtime_weekday, weekly_overtime]}\n"
    )
    profile = declared(text, tmp_path, "x")
    assert written(payroll(row(regular=61, name="A & B"), row("2", regular=-5)), profile, tmp_path).decode() == (
        "<pay of='2026-11'>\n<W who='A &amp; B'>1:01</W>\n<W who='User 2'>-0:05</W>\n<sum>0:56 of 2</sum></pay>\n"
    )
    for source, problem in (
        ("ok\n{{ rows[0].salary }}", "has no attribute 'salary'"),
        ("ok\n{% for %}", r"pay.xml, line 2: "),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "the template failed: division by zero"),
    ):
        (tmp_path / "pay.xml").write_text(source)
        with pytest.raises(UsageError, match=problem):
            written(MONTH, profile, tmp_path)
    (tmp_path / "pay.xml").unlink()
    with pytest.raises(UsageError, match="the template cannot be read: No such file"):
        written(MONTH, profile, tmp_path)


def test_a_template_lies_in_the_folder_of_the_profiles(tmp_path: Path) -> None:
    folder, other, outside = tmp_path / "home", tmp_path / "home2", tmp_path / "secret"
    for one in (folder, other):
        one.mkdir()
    for one in (outside, other / "pay.xml", folder / "real.xml"):
        one.write_text("text")
    (folder / "link.xml").symlink_to(outside)
    (folder / "inner.xml").symlink_to("real.xml")
    (folder / "loop.xml").symlink_to("loop.xml")
    (tmp_path / "linked").symlink_to(folder)
    for name in ("../secret", "x/../../secret", str(outside), "link.xml", "../home2/pay.xml"):
        with pytest.raises(UsageError, match=f"^the profile x: the template {name} is not in the folder of the profil"):
            written(MONTH, Profile(name="x", format="template", template=name), folder)
    for name in ("real.xml", "inner.xml", str(folder / "real.xml")):
        for where in (folder, tmp_path / "linked"):
            assert written(MONTH, Profile(name="x", format="template", template=name), where) == b"text"
    for name in ("loop.xml", "a\0b"):
        with pytest.raises(UsageError, match="the template cannot be read: "):
            written(MONTH, Profile(name="x", format="template", template=name), folder)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{name: a, format: pdf}", "line 2, profile a: format: input should be 'csv', 'fixed', 'xlsx' or 'template'"),
        ("{name: a, format: csv, columns: [{field: salary}]}", "columns.0.field: unknown field 'salary'; there are "),
        (
            "{name: a, format: csv, columns: [{classes: [bonus]}]}",
            "columns.0.classes: unknown pay class 'bonus'; there",
        ),
        ("{name: a, format: csv, columns: [{name: x}]}", "columns.0: a column needs one of field, text and classes"),
        ("{name: a, format: csv, columns: [{field: amount}]}", "columns: the field amount needs `wage_types:`"),
        ("{name: a, format: fixed, columns: [{field: user_id}]}", "columns: the format fixed needs the width of each"),
        ("{name: a, format: csv, colums: []}", "colums: extra inputs are not permitted"),
        ("{name: a, format: csv, encoding: klingon}", "encoding: unknown encoding 'klingon'"),
        ("{name: a, format: csv, decimal_mark: ','}", "delimiter: must differ from decimal_mark"),
        ("{name: a, format: template}", "`template:`, the file of the template, belongs to the format template"),
        (
            "{name: a, format: csv, wage_types: [{code: '1', classes: [night], multiplier: x}]}",
            "'x' is not a multiplier",
        ),
        (
            "{name: a, format: csv, columns: [{field: user_id}], wage_types: [{code: '1', classes: [night]}]}",
            "columns: rows per wage type need the field amount",
        ),
        ("{name: a, format: csv}\n- {name: a, format: csv}", "line 3: the profile 'a' is declared twice"),
    ],
)
def test_a_wrong_profile_is_one_line_with_its_place(entry: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        declared(f"profiles:\n- {entry}\n", tmp_path, "a")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_profile_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="no payroll profile 'sap'; there are: csv, xlsx; declare others in payroll_prof"
    ):
        find_profile("sap", None)
    with pytest.raises(UsageError, match="no payroll profile 'sap'; there are: csv, xlsx, lodas; declare it in"):
        declared(LODAS, tmp_path, "sap")


def test_a_class_that_no_column_pays_is_refused_unless_it_is_left_out() -> None:
    only = Profile(name="short", format="csv", columns=(Column(field="user_id"), Column(classes=(PayClass.REGULAR,))))
    with pytest.raises(
        UsageError, match="short has no amount for overtime_weekday, with 25 minutes: add it, or name it"
    ):
        written(MONTH, only)
    rest = tuple(one for one in PayClass if one is not PayClass.REGULAR)
    assert written(MONTH, only.model_copy(update={"leave_out": rest})).decode().splitlines()[-1] == "total,15.50"


def test_rows_that_do_not_add_up_to_the_days_are_not_written() -> None:
    wrong = replace(MONTH, totals=MONTH.totals | {"night_minutes": 31})
    with pytest.raises(
        ZkPipelineError, match="2026-11 was not exported: night is 30 minutes in all rows, but 31 in all"
    ):
        written(wrong, BUILT_IN[0])


def test_an_employee_is_one_row_over_all_sites_unless_the_id_is_of_several() -> None:
    rows = [
        row(regular=100, name=""), row(site="Mill", regular=50, status="absent"), row(day=3, site="Mill", regular=1),
        row(day=4, owner="2026-09", regular=-9), row(day=4, owner="2026-10", regular=5),
        row(day=5, owner="2026-10", site="Mill", regular=-5), row(day=6, status="absent"),
        row(day=6, site="Mill", status="absent", leave="sick leave"),
    ]  # fmt: skip
    found = [
        (one.sites, one.name, one.adjustment_of, one.minutes["regular"], one.days, one.leaves)
        for one in pay_rows(payroll(*rows))
    ]
    assert found == [
        (["HQ", "Mill"], "User 1", "", 151, {"on_leave": 1, "present": 2}, {"sick leave": 1}),
        (["HQ"], "User 1", "2026-09", -9, {}, {}),
    ]
    apart = [(one.site, one.adjustment_of, one.minutes["regular"]) for one in pay_rows(payroll(*rows, apart=["1"]))]
    assert apart == [
        ("HQ", "", 100),
        ("HQ", "2026-09", -9),
        ("HQ", "2026-10", 5),
        ("Mill", "", 51),
        ("Mill", "2026-10", -5),
    ]


def test_texts_that_begin_like_a_formula_are_harmless_and_figures_stay_figures() -> None:
    rows = payroll(row("=1+1", name="@SUM(A1)", regular=-60))
    (_, line, total) = csv.reader(io.StringIO(written(rows, BUILT_IN[0]).decode()))
    assert (line[2:4], line[5], total[5]) == (["'=1+1", "'@SUM(A1)"], "-1.00", "-1.00")


minutes = st.integers(-3000, 12_000)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(*(minutes for _ in PayClass)), min_size=1, max_size=8),
    st.sampled_from(["minutes", "hours", "hh:mm"]),
    st.integers(0, 3),
    st.lists(st.sampled_from(["1", "1.25", "1.333", "0"]), min_size=6, max_size=6),
)
def test_rounded_cells_add_up_in_every_direction(
    people: list[tuple[int, ...]], unit: Any, decimals: int, multipliers: list[str]
) -> None:
    """Columns to the totals row, classes to the total of the row, and rows per wage type to the columns."""
    given = [dict[str, Any](zip(map(str, PayClass), one, strict=True)) for one in people]
    rows = payroll(*(row(str(number), **one) for number, one in enumerate(given)))
    amounts = [Column(classes=(one,), multiplier=Decimal(by)) for one, by in zip(PayClass, multipliers, strict=True)]
    plain = [Column(classes=(one,)) for one in PayClass]
    wide = Profile(
        name="wide", format="csv", unit=unit, decimals=decimals,
        columns=(Column(field="user_id"), *amounts, *plain, Column(field="total")),
    )  # fmt: skip
    _, *lines, total = csv.reader(io.StringIO(written(rows, wide).decode()))
    parsed = [[_number(cell) for cell in line[1:]] for line in (*lines, total)]
    assert [sum(column) for column in zip(*parsed[:-1], strict=True)] == parsed[-1]
    per_unit = 60 if unit == "hours" else 1
    half = Decimal(1).scaleb(-decimals if unit == "hours" else 0) / 2
    for line, one in zip(parsed, people, strict=False):
        assert line[-1] == sum(line[6:11])
        for cell, value, by in zip(line, one, multipliers, strict=False):
            assert abs(cell - value * Decimal(by) / per_unit) <= half
    together = Profile(
        name="long", format="csv", unit=unit, decimals=decimals, columns=(Column(field="amount"),), header=False,
        wage_types=tuple(WageType(code="1", classes=one.classes or (), multiplier=one.multiplier) for one in amounts),
    )  # fmt: skip
    paid = [_number(line) for line in written(rows, together).decode().splitlines()]
    assert sum(paid) == sum(parsed[-1][:6])


def _number(text: str) -> Decimal:
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    hours, _, rest = text.partition(":")
    return sign * (Decimal(hours) * 60 + Decimal(rest) if rest else Decimal(text))
