"""Strict YAML reader: scalars as text, or an error with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from zk_pipeline.errors import UsageError
from zk_pipeline.yaml_file import (
    Day,
    Decimal,
    Flag,
    OptionalText,
    Text,
    WholeNumber,
    compose_yaml,
    json_value,
    read_yaml,
)

WRITTEN = (
    "00042", "0x1F", "0o17", "0b101", "12_34", "12:30", "1e3", "1_000.5", "+7", ".inf", ".nan", "on", "off", "yes",
    "No", "true", "y", "2026-02-30", "2026-05-01", "2026-05-01T08:00:00Z", "1.10", "=", "'~'", '"null"', "'00042'",
)  # fmt: skip


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_value_stays_the_text_that_was_written(tmp_path: Path) -> None:
    file = read_yaml(written(tmp_path, "\n".join(f"- {text}" for text in WRITTEN)))
    assert file.content == [text.strip("'\"") for text in WRITTEN]
    as_keys = read_yaml(written(tmp_path, "\n".join(f"{text}: x" for text in ("00042", "yes", "12:30", "<<"))))
    assert list(as_keys.content) == ["00042", "yes", "12:30", "<<"]


def test_nothing_is_null_and_quotes_make_it_text(tmp_path: Path) -> None:
    file = read_yaml(written(tmp_path, "a:\nb: ~\nc: null\nd: ''\ne: '~'\n"))
    assert file.content == {"a": None, "b": None, "c": None, "d": "", "e": "~"}
    assert read_yaml(written(tmp_path, "# nothing\n")).content is None


def test_a_place_has_its_line_or_that_of_what_is_around_it(tmp_path: Path) -> None:
    file = read_yaml(written(tmp_path, "\ufeffshifts:\n\n  - name: a\n    start:\n      '09:00'\n"))
    assert file.where("shifts", 0, "start") == f"{file.path}, line 4"
    assert file.where("shifts", 0, "end") == f"{file.path}, line 3"
    assert file.where("holidays") == str(file.path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\na: 2", "line 2: duplicate key 'a'"),
        ("- {user: 1, user: 2}", "line 1: duplicate key 'user'"),
        ("a: &x 1\nb: 2", "line 1: the anchor &x is not supported"),
        ("a: 1\nb: *x", "line 2: the alias *x is not supported"),
        ("a:\n- !!str 00042", "line 2: the tag tag:yaml.org,2002:str is not supported"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: the tag tag:yaml.org,2002:python/object/apply:os.getcwd"),
        ("? [a, b]\n: c", "line 1: a key must be a single name"),
        ("a: 1\n---\nb: 2", "line 2: cannot be read as YAML"),
        ("a: [", "line 1: cannot be read as YAML"),
        (b"a: 1\nb: \xe9\n", "line 2: cannot be read as YAML: it is not UTF-8 text"),
        ("a: 1\nb: \x07", "line 2: cannot be read as YAML"),
        ("[" * 1000, "nested too deeply"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(content: str | bytes, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UsageError) as refused:
        read_yaml(path)
    assert str(refused.value).startswith(str(path))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-0.5", -0.5), ("true", True), ("False", False), ("null", None), ("", None), ("'3'", "3"),
        ("1.2.3", "1.2.3"), ("zk", "zk"),
    ],
)  # fmt: skip
def test_a_constant_has_the_type_that_json_and_every_version_of_yaml_give_it(
    text: str, value: object, tmp_path: Path
) -> None:
    found = _scalar(tmp_path, text)
    assert (json_value(found), type(json_value(found))) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["00042", "0x1F", "0o17", "12_34", "12:30", "1e3", "on", "NO", "2026-05-01", ".5", "+7", "="]
)
def test_a_constant_that_can_be_read_in_several_ways_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is ambiguous"):
        json_value(_scalar(tmp_path, text))


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".nan"])
def test_a_number_that_json_cannot_hold_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written as a JSON number"):
        json_value(_scalar(tmp_path, text))


def _scalar(folder: Path, text: str) -> yaml.ScalarNode:
    root = compose_yaml(written(folder, f"a: {text}"))
    assert isinstance(root, yaml.MappingNode)
    found = root.value[0][1]
    assert isinstance(found, yaml.ScalarNode)
    return found


class Fields(BaseModel):
    text: Text = "x"
    optional: OptionalText = None
    whole: WholeNumber = 0
    decimal: Decimal = 0.0
    flag: Flag = False
    day: Day | None = None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", None), ("text", ""), ("text", ["x"]), ("optional", None), ("optional", ""),
        *(("whole", text) for text in ("042", "0x10", "1_0", "1e1", "1.0", "٣", " 1", "true")),
        *(("decimal", text) for text in ("01.5", "1_0.5", "1:30", ".inf", "nan", "1e1", ".5")),
        *(("flag", text) for text in ("1", "0", "2", "y", "tRUE", "")),
        *(("day", text) for text in ("20260501", "86400", "2026-5-1", "2026-02-30", "2026-05-01T00:00:00")),
    ],
)  # fmt: skip
def test_a_field_refuses_what_it_could_only_guess(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Fields.model_validate({field: value})


def test_a_field_takes_what_is_plain() -> None:
    made = Fields.model_validate(
        {"text": "00042", "optional": "no", "whole": "4370", "decimal": "0.5", "flag": "yes", "day": "2026-05-01"}
    )
    assert made.model_dump(mode="json") == {
        "text": "00042", "optional": "no", "whole": 4370, "decimal": 0.5, "flag": True, "day": "2026-05-01"
    }  # fmt: skip
