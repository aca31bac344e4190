"""Comparison of enrolled names: spellings of one name, and names of two employees."""

from __future__ import annotations

import pytest

from zk_pipeline.attendance.names import clearly_differ

ONE_PERSON = [
    ("Ali Kaya", "KAYA, Ali"), ("J. Smith", "John Smith"), ("José Núñez", "Jose Nunez"), ("", "Ali Kaya"),
    ("1001", "Ali Kaya"), ("NN-17", "nn-17"), ("Christop", "Christopher Doe"), ("Иван Петров", "Ivan Petrov"),
    ("Işıl", "ISIL"), ("Mary Ann Lee", "Maryann Lee"), ("Mehmet Yılmaz", "Mehmed Yilmaz"), ("Straße", "STRASSE"),
    ("İbrahim", "ibrahim"), ("Anna Maria Rossi", "Anna Rossi"), ("Søren Ø.", "SOREN OE"), ("EMP7", "Ben Stone"),
    ("Ali Kaya", "Ali"),
]  # fmt: skip
TWO_PEOPLE = [
    ("Ali Kaya", "Ben Stone"), ("Ali Yilmaz", "Veli Yilmaz"), ("Anna Schmidt", "Anna Muller"), ("Иван", "Пётр"),
    ("Lee", "Kim"), ("王伟", "李娜"), ("Ali Ali", "Ali Kaya"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ONE_PERSON)
def test_spellings_of_one_name_do_not_clearly_differ(one: str, other: str) -> None:
    assert not clearly_differ(one, other, "EMP7")
    assert not clearly_differ(other, one, "EMP7")


@pytest.mark.parametrize(("one", "other"), TWO_PEOPLE)
def test_names_of_two_people_differ(one: str, other: str) -> None:
    assert clearly_differ(one, other, "EMP7")
    assert clearly_differ(other, one, "EMP7")
