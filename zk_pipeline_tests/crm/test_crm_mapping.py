"""crm_mapping.yaml: our record in another CRM's words, and what is said of a file that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.mapping import AS_IT_IS, FIELDS, read_mapping
from zk_pipeline.crm.payload import crm_record, encode_batch, encode_one
from zk_pipeline_tests.crm.crm_doubles import delivery


def mapping_of(folder: Path, text: str) -> Path:
    path = folder / "crm_mapping.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_the_record_is_the_contracts() -> None:
    assert tuple(crm_record(delivery(), AS_IT_IS)) == FIELDS
    assert json.loads(encode_one(delivery()))["clock_in"] == "2026-11-11T08:15:30+03:00"


def test_fields_are_renamed_dropped_added_and_constant_ones_put_in(tmp_path: Path) -> None:
    mapping = read_mapping(
        mapping_of(
            tmp_path,
            """
# what the personnel system calls it
rename:
  user_id: employee
  date: day
drop: [device_ip, outlier_reason]
constant:
  source: zk
  version: 3
  is_test: false
  note: null
add:
  site: location
  is_retracted: deleted
""",
        )
    )
    assert crm_record(delivery(), mapping) == {
        "employee": "EMP001",
        "day": "2026-11-11",
        "clock_in": "2026-11-11T08:15:30+03:00",
        "clock_out": None,
        "is_outlier": False,
        "device_name": "Main Office",
        "revision": 1,
        "location": "Main Office",
        "deleted": False,
        "source": "zk",
        "version": 3,
        "is_test": False,
        "note": None,
    }
    (in_batch,) = json.loads(encode_batch([delivery()], mapping))
    assert in_batch == crm_record(delivery(), mapping) | {"idempotency_key": delivery().idempotency_key}


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("iso", "2026-11-11T08:15:30+03:00"),
        ("utc", "2026-11-11T05:15:30Z"),
        ("local", "2026-11-11T08:15:30"),
        ("epoch", 1794374130),
        ("epoch_ms", 1794374130000),
    ],
)
def test_instants_are_written_as_asked_and_none_stays_null(form: str, written: object, tmp_path: Path) -> None:
    record = crm_record(delivery(), read_mapping(mapping_of(tmp_path, f"instants: {form}")))
    assert (record["clock_in"], record["clock_out"]) == (written, None)
    assert record["date"] == "2026-11-11"


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_changes_nothing(text: str, tmp_path: Path) -> None:
    assert read_mapping(mapping_of(tmp_path, text)) == AS_IT_IS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("renames:\n  user_id: x", "line 1: unknown section 'renames'; there are rename, constant"),
        ("rename:\n  user_idd: x", "line 2: rename: unknown field 'user_idd'; there are user_id, date"),
        ("rename:\n  user_id:", "line 2: rename: user_id needs the name that the CRM has for it"),
        ("rename:\n  user_id: 3", "line 2: rename: user_id needs the name"),
        ("rename:\n  user_id: date", "two fields would have the name 'date'"),
        ("rename:\n  user_id: a\n  user_id: b", "line 3: 'user_id' stands there twice"),
        ("rename:\n  user_id: a\ndrop: [user_id]", "line 2: 'user_id' is both renamed and dropped"),
        ("drop: user_id", "line 1: drop must be a list of fields"),
        ("drop:\n- user_id\n- what", "line 3: drop: unknown field 'what'"),
        (
            "constant:\n  when: 2026-11-11",
            "line 2: constant: when: 2026-11-11 can be read in several ways: put",
        ),
        ("constant:\n  plant: 00042", "line 2: constant: plant: 00042 can be read in several ways"),
        ("constant:\n  country: NO", "line 2: constant: country: NO can be read in several ways"),
        ("rename:\n  user_id: 0x1F", "line 2: rename: user_id: 0x1F can be read in several ways"),
        ("constant:\n  list: [1]", "line 2: a single value is needed here"),
        ("constant:\n  idempotency_key: x", "the name 'idempotency_key' is taken"),
        ("constant:\n  x: !!int nope", "line 2: the tag tag:yaml.org,2002:int is not supported"),
        ("instants: rfc", "line 1: instants must be one of iso, utc, local, epoch, epoch_ms"),
        ("add:\n  department: x", "line 2: add: unknown field 'department'; there are site, is_retracted"),
        ("- rename", "line 1: the file must be a mapping"),
        ("rename: {user_id: x", "line 1: cannot be read as YAML"),
        ("a: b\n\t- c", "line 2: cannot be read as YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line_and_what_is_wrong_there(text: str, said: str, tmp_path: Path) -> None:
    path = mapping_of(tmp_path, text)
    with pytest.raises(CrmMisconfigured) as refused:
        read_mapping(path)
    assert str(refused.value).startswith(f"{path}, ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CrmMisconfigured, match="cannot be read"):
        read_mapping(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CrmMisconfigured, match="line 1: cannot be read as YAML: it is not text in UTF-8"):
        read_mapping(tmp_path / "binary.yaml")
