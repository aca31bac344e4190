"""crm_mapping.yaml: field names and response rules of another CRM, and errors of invalid files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from zk_pipeline.crm.batch_responses import classify_batch_response
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.mapping import FIELDS, IDENTITY_MAPPING, read_mapping
from zk_pipeline.crm.payload import crm_record, encode_batch, encode_one, record_body, sent_record
from zk_pipeline.crm.responses import HttpResponse, ResponseClass, classify_response
from zk_pipeline.errors import UsageError
from zk_pipeline_tests.crm.crm_doubles import NOON, deliveries, delivery
from zk_pipeline_tests.docs.pages import CHECKOUT


def mapping_of(folder: Path, text: str) -> Path:
    path = folder / "crm_mapping.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_the_record_is_the_contracts() -> None:
    assert tuple(crm_record(delivery(), IDENTITY_MAPPING)) == FIELDS
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
    assert crm_record(replace(delivery(), record_per="site"), mapping) == crm_record(delivery(), mapping)
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


def test_a_rule_of_a_status_without_body_is_one_of_the_status_alone(tmp_path: Path) -> None:
    rules = read_mapping(mapping_of(tmp_path, "success:\n- status: 204\n- {status: 200, text: OK}")).rules
    assert (
        classify_response(HttpResponse(status=204, headers={}, body=b""), now=NOON, rules=rules).meaning
        is ResponseClass.DELIVERED
    )


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_changes_nothing(text: str, tmp_path: Path) -> None:
    assert read_mapping(mapping_of(tmp_path, text)) == IDENTITY_MAPPING


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("renames:\n  user_id: x", "line 1: unknown section 'renames'; there are rename, constant"),
        ("rename:\n  user_idd: x", "line 2: rename: unknown field 'user_idd'; there are user_id, date"),
        ("rename:\n  user_id:", "line 2: rename: user_id needs the name that the CRM has for it"),
        ("rename:\n  user_id: 3", "line 2: rename: user_id needs the name"),
        ("rename:\n  user_id: date", "two fields would have the name 'date'"),
        ("rename:\n  user_id: a\n  user_id: b", "line 3: duplicate key 'user_id'"),
        ("rename:\n  user_id: a\ndrop: [user_id]", "line 2: 'user_id' is both renamed and dropped"),
        (
            "drop:\n- device_ip\n- user_id",
            "line 3: drop: 'user_id' identifies the day of a record and cannot be dropped",
        ),
        ("drop: [date]", "line 1: drop: 'date' identifies the day of a record"),
        ("drop: user_id", "line 1: drop must be a list of fields"),
        ("drop:\n- user_id\n- what", "line 3: drop: unknown field 'what'"),
        (
            "constant:\n  when: 2026-11-11",
            "line 2: constant: when: 2026-11-11 is ambiguous: put",
        ),
        ("constant:\n  plant: 00042", "line 2: constant: plant: 00042 is ambiguous"),
        ("constant:\n  country: NO", "line 2: constant: country: NO is ambiguous"),
        ("rename:\n  user_id: 0x1F", "line 2: rename: user_id: 0x1F is ambiguous"),
        ("constant:\n  list: [1]", "line 2: a single value is needed here"),
        ("constant:\n  idempotency_key: x", "the name 'idempotency_key' is taken"),
        ("constant:\n  x: !!int nope", "line 2: the tag tag:yaml.org,2002:int is not supported"),
        ("constant:\n  x: .nan", "line 2: constant: x: .nan cannot be written as a JSON number"),
        ("constant:\n  x: -.INF", "line 2: constant: x: -.INF cannot be written as a JSON number"),
        (f"constant:\n  x: {'9' * 400}.0", "line 2: constant: x: a number of 402 digits is too long"),
        ("success: ok", "line 1: success must be a list of rules"),
        ("success: []", "line 1: success must be a list of rules"),
        ("success:\n- ok", "line 2: a rule of success must be a mapping"),
        ("success:\n- {}", "line 2: success: a rule needs a status, a path with its value, or a text"),
        ("success:\n- states: 200", "line 2: success: unknown condition 'states'; there are status, path, value, text"),
        ("success:\n- status: 422", "line 2: success: status must be from 200 to 299"),
        ("success:\n- status: 200\n- status: [201, '202']", "line 3: success: status must be from 200 to 299"),
        (
            "success:\n- path: state\n  value: stored\n  status: 204",
            "line 4: success: a 204 has no body, so this rule never applies: use a rule with status alone",
        ),
        ("success:\n- text: OK\n  status: [200, 205]", "line 3: success: a 205 has no body"),
        ("already:\n- {status: [409, 204], text: OK}", "line 2: already: a 204 has no body"),
        ("already:\n- status: 401", "line 2: already: status must be a 2xx or 4xx about the record"),
        ("already:\n- status: 503", "line 2: already: status must be a 2xx or 4xx about the record"),
        ("already:\n- path: code", "line 2: already: path and value need each other"),
        ("already:\n- value: x", "line 2: already: path and value need each other"),
        ("already:\n- path: a..b\n  value: x", "line 2: already: path needs a text, such as data.state"),
        ("already:\n- text:", "line 2: already: text needs a text"),
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
    assert isinstance(refused.value, UsageError), "a wrong file ends a command with exit code 2"
    assert str(refused.value).startswith(f"{path}, ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


RULES = """
rename: {user_id: employee}
success:
- path: data.0.state
  value: stored
- status: [200, 201]
  text: "OK: stored"
already:
- status: 409
- status: [400, 422]
  path: error.code
  value: 17
- text: ALREADY_THERE
"""


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, '{"data": [{"state": "stored", "error": "none to speak of"}]}', ResponseClass.DELIVERED),
        (200, '{"data": [{"state": "queued"}]}', ResponseClass.UNKNOWN),
        (201, "<html>OK: stored", ResponseClass.DELIVERED),
        (202, "OK: stored", ResponseClass.UNKNOWN),
        (204, "", ResponseClass.UNKNOWN),
        (200, "<html>Sign in", ResponseClass.UNCLEAR),
        (409, "", ResponseClass.DELIVERED),
        (422, '{"error": {"code": 17}}', ResponseClass.DELIVERED),
        (422, '{"error": {"code": "17"}}', ResponseClass.REJECTED),
        (422, '{"error": {"code": true}}', ResponseClass.REJECTED),
        (404, '{"error": {"code": 17}}', ResponseClass.UNCLEAR),
        (400, "so ALREADY_THERE", ResponseClass.DELIVERED),
        (401, "ALREADY_THERE", ResponseClass.MISCONFIGURED),
        (500, "ALREADY_THERE", ResponseClass.UNAVAILABLE),
    ],
)
def test_rules_say_what_success_is_and_what_means_that_the_crm_has_it(
    status: int, body: str, meaning: ResponseClass, tmp_path: Path
) -> None:
    rules = read_mapping(mapping_of(tmp_path, RULES)).rules
    http = HttpResponse(status=status, headers={"Content-Type": "application/json"}, body=body.encode())
    assert classify_response(http, now=NOON, rules=rules).meaning is meaning


def test_the_file_that_the_page_shows_can_be_read(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs" / "crm.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(rename:.*?)^```", text, re.MULTILINE | re.DOTALL)
    mapping = read_mapping(mapping_of(tmp_path, shown))
    assert mapping.add == {"site": "location", "is_retracted": "deleted"}
    assert mapping.rules.success
    assert mapping.rules.already


def test_rules_hold_for_each_record_of_a_batch(tmp_path: Path) -> None:
    mapping = read_mapping(mapping_of(tmp_path, RULES))
    due = deliveries(3)
    errors: list[dict[str, object]] = [
        {"data": [{"state": "stored"}]},
        {"error": {"code": 17}},
        {"error": {"code": 18}},
    ]
    items = [
        {"employee": one.user_id, "date": "2026-11-11", "status": 200 if n == 0 else 422} | errors[n]
        for n, one in enumerate(due)
    ]
    http = HttpResponse(status=207, headers={}, body=json.dumps({"results": items[::-1]}).encode())
    sent = [sent_record(one, mapping) for one in due]
    answers = classify_batch_response(http, sent, now=NOON, rules=mapping.rules)
    assert [a.meaning for a in answers] == [ResponseClass.DELIVERED, ResponseClass.DELIVERED, ResponseClass.REJECTED]


def test_a_record_whose_outcome_is_unknown_is_sent_as_it_was_whatever_the_file_says_now(tmp_path: Path) -> None:
    mapping = read_mapping(mapping_of(tmp_path, "rename: {user_id: employee}\ndrop: [device_ip]"))
    body = '{"user_id": "EMP001",  "note":"as it was"}'
    unknown = replace(delivery(), sent_body=body)
    assert encode_one(unknown, mapping) == body.encode()
    assert record_body(unknown, mapping) == body
    assert crm_record(unknown, mapping) == json.loads(body)
    (in_batch,) = json.loads(encode_batch([unknown], mapping))
    assert in_batch == json.loads(body) | {"idempotency_key": unknown.idempotency_key}
    assert record_body(delivery(), mapping).encode() == encode_one(delivery(), mapping)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CrmMisconfigured, match="cannot be read"):
        read_mapping(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CrmMisconfigured, match="line 1: cannot be read as YAML: it is not UTF-8 text"):
        read_mapping(tmp_path / "binary.yaml")
