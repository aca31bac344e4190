"""Settings: defaults, precedence, and one clear line for every wrong value."""

from __future__ import annotations

import re
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest

from zk_pipeline.config.settings import VARIABLES, Settings, load_settings, read_variable
from zk_pipeline.errors import UsageError

EXAMPLE = Path(__file__).parents[2] / ".env.example"
CONTRACT_DEFAULTS: dict[str, Any] = {
    "ZK_PIPELINE_DATABASE": Path("data/attendance.duckdb"),
    "ZK_PIPELINE_TIMEZONE": "UTC",
    "ZK_PIPELINE_HISTORY_START": date(2020, 1, 1),
    "ZKTECO_TIMEOUT": 10,
    "ZKTECO_POLL_DEADLINE": 300,
    "POLLING_INTERVAL_MINUTES": 15,
    "WORK_START_TIME": time(9),
    "WORK_END_TIME": time(18),
    "WORKDAY_STARTS_AT": None,
    "OUTLIER_EARLY_CLOCK_IN_HOURS": 2,
    "OUTLIER_LATE_CLOCK_IN_HOURS": 2,
    "OUTLIER_EARLY_CLOCK_OUT_HOURS": 2,
    "OUTLIER_LATE_CLOCK_OUT_HOURS": 3,
    "CRM_API_URL": None,
    "CRM_API_TOKEN": None,
    "CRM_API_TOKEN_FILE": None,
    "CRM_CA_BUNDLE": None,
    "CRM_AUTH_SCHEME": "Token",
    "CRM_REQUEST_TIMEOUT": 30,
    "CRM_MAX_RETRIES": 3,
    "CRM_OUTAGE_PATIENCE": 600,
    "CRM_CONCURRENCY": 8,
    "CRM_BATCH_SIZE": 1,
    "CRM_RECORD_PER": "person",
    "CRM_ALLOW_INSECURE_HTTP": False,
    "DEBOUNCE_SECONDS": 60,
    "ALERT_URLS": None,
    "API_TOKENS_REQUIRED": True,
    "RAW_RETENTION_DAYS": 0,
    "RECEIVER_ENABLED": False,
    "RECEIVER_HOST": "127.0.0.1",
    "RECEIVER_PORT": 8081,
}
WRONG = {
    "ZK_PIPELINE_DATABASE": ["", "postgres://host/db", "~no-user-of-this-name/x.duckdb"],
    "ZK_PIPELINE_TIMEZONE": ["", "Mars/Olympus", "Europe", "../../etc/passwd", "+03:00"],
    "ZK_PIPELINE_HISTORY_START": ["", "2020", "2020-13-01", "2020-02-30", "01.01.2020"],
    "ZK_PIPELINE_KEY_PREFIX": ["hr/", "/hr", "1st", "h r", "hr-berlin", "hr//berlin", "_hr"],
    "ZKTECO_TIMEOUT": ["", "0", "-1", "ten", "nan", "inf"],
    "DEVICE_NETWORKS": ["192.0.2.1/24", "192.0.2.0/33", "gates.example", "192.0.2.0/24;198.51.100.0/24"],
    "ZKTECO_POLL_DEADLINE": ["0", "nan", "1e9"],
    "POLLING_INTERVAL_MINUTES": ["", "0", "7", "1.5", "1441"],
    "POLL_QUEUES": ["izmir", "=izmir", "Izmir=", "Izmir=a b", "Izmir=a, Izmir=b", "Izmir=a,", "*=/x", "*={name}"],
    "WORK_START_TIME": ["", "9", "25:00", "09:60", "9am", "09:00:30", "0900"],
    "WORK_END_TIME": ["24:00", "09:00"],
    "WORKDAY_STARTS_AT": ["noon", "12:0"],
    "OUTLIER_EARLY_CLOCK_IN_HOURS": ["-1", "25", "nan", "two"],
    "OUTLIER_LATE_CLOCK_IN_HOURS": ["-0.1"],
    "OUTLIER_EARLY_CLOCK_OUT_HOURS": ["inf"],
    "OUTLIER_LATE_CLOCK_OUT_HOURS": ["1e3"],
    "CRM_AUTH_SCHEME": ["", "Token abc", "Tök"],
    "CRM_REQUEST_TIMEOUT": ["0", "nan"],
    "CRM_MAX_RETRIES": ["0", "3.5", "many"],
    "CRM_OUTAGE_PATIENCE": ["-1", "nan", "86401", "long"],
    "CRM_CONCURRENCY": ["0", "129"],
    "CRM_BATCH_SIZE": ["0", "1001"],
    "CRM_RECORD_PER": ["", "day", "Person"],
    "CRM_SYNC_INTERVAL_MINUTES": ["0", "29"],
    "SENSOR_INTERVAL_SECONDS": ["4", "301", "often"],
    "CRM_PROBE_PATH": ["api/health/", "https://crm.example.com/", "/a b"],
    "CRM_ALLOW_INSECURE_HTTP": ["maybe", ""],
    "DEBOUNCE_SECONDS": ["-1", "1.5"],
    "ALERT_REMINDER_HOURS": ["-1", "nan", "daily"],
    "ZK_PIPELINE_UI_URL": ["dagster.example.com", "ftp://x", "https://user:pass@x"],
    "ZK_PIPELINE_ADMIN_URL": ["admin"],
    "ZK_PIPELINE_DOCS_URL": ["docs"],
    "API_TOKENS_REQUIRED": ["nope"],
    "UI_LOGIN_REQUIRED": ["nope"],
    "RAW_RETENTION_DAYS": ["-1", "ever", "99999999"],
    "QUARANTINE_RETENTION_DAYS": ["-1", "ever"],
    "RUN_RETENTION_DAYS": ["-1", "", "1.5"],
    "PUBLISH_SNAPSHOT": ["published", "data/attendance.duckdb"],
    "API_ALLOW_INSECURE_HTTP": ["maybe"],
    "RECEIVER_ENABLED": ["maybe"],
    "RECEIVER_HOST": ["", "http://x", "a b"],
    "RECEIVER_PORT": ["0", "65536", "http"],
    "RECEIVER_PUNCH_EVENTS": ["all", "1;2", "1-", "-1", "123456", "19-14"],
}


def load(home: Path, **variables: str) -> Settings:
    return load_settings({"ZK_PIPELINE_HOME": str(home), **variables})


def refusal(home: Path, **variables: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(home, **variables)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_variable_has_the_default_of_the_contract(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert {name: getattr(settings, VARIABLES[name]) for name in CONTRACT_DEFAULTS} == CONTRACT_DEFAULTS
    assert settings.workday_starts_at == time(0)
    assert settings.database_path == tmp_path / "data" / "attendance.duckdb"


def test_the_example_file_lists_every_variable_with_its_default(tmp_path: Path) -> None:
    shown = dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    assert set(shown) == {*VARIABLES, "ZK_PIPELINE_HOME"}
    del shown["ZK_PIPELINE_HOME"]  # not a setting: it decides where settings are looked for
    given, default = load(tmp_path, **shown), load(tmp_path)
    # Shown as what it comes to for a day shift.
    expected = default.model_copy(update={"workday_starts_at_set": time(0)})
    assert given == expected


def test_the_example_file_sets_nothing_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(EXAMPLE.read_text())
    assert load(tmp_path) == load(tmp_path / "another").model_copy(update={"home": tmp_path})


def test_every_variable_that_can_be_wrong_is_tried() -> None:
    free_text = {
        "CRM_API_URL", "CRM_API_TOKEN", "CRM_API_TOKEN_FILE", "CRM_CA_BUNDLE", "CRM_MAPPING_FILE", "CRM_LOOKUP",
        "ALERT_URLS", "PAYROLL_PROFILES_FILE",
    }  # fmt: skip
    assert set(WRONG) == set(VARIABLES) - free_text


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_one_line_that_names_the_variable_the_value_and_where_it_stands(
    name: str, value: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, **{name: value}).startswith(f"{name}={value!r} (exported): ")
    (tmp_path / ".env").write_text(f"# a comment\n{name}={value}\n", encoding="utf-8")
    assert refusal(tmp_path).startswith(f"{name}={value!r} (in {tmp_path / '.env'}): ")


def test_equal_start_and_end_are_refused_even_where_only_one_is_set(tmp_path: Path) -> None:
    assert refusal(tmp_path, WORK_START_TIME="18:00") == "WORK_END_TIME: must differ from WORK_START_TIME"


def test_a_login_of_the_ui_without_tokens_is_refused(tmp_path: Path) -> None:
    reason = "UI_LOGIN_REQUIRED='true' (exported): a login needs tokens; leave API_TOKENS_REQUIRED at true"
    assert refusal(tmp_path, UI_LOGIN_REQUIRED="true", API_TOKENS_REQUIRED="false") == reason


def test_a_key_prefix_is_one_name_or_several_and_queues_need_none(tmp_path: Path) -> None:
    assert load(tmp_path, ZK_PIPELINE_KEY_PREFIX="hr").key_prefix == ("hr",)
    assert load(tmp_path, ZK_PIPELINE_KEY_PREFIX=" hr/berlin_2 ").key_prefix == ("hr", "berlin_2")
    assert load(tmp_path, ZK_PIPELINE_KEY_PREFIX="").key_prefix == ()
    refused = refusal(tmp_path, ZK_PIPELINE_KEY_PREFIX="hr", POLL_QUEUES="*=all")
    assert refused.startswith("POLL_QUEUES='*=all' (exported): works in a code location of its own only")


def test_an_exported_variable_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CRM_CONCURRENCY=2\nexport CRM_BATCH_SIZE='50' # quoted\n")
    settings = load(tmp_path, CRM_CONCURRENCY="3")
    assert (settings.crm_concurrency, settings.crm_batch_size) == (3, 50)


def test_an_exported_value_that_is_right_covers_a_wrong_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CRM_CONCURRENCY=many\n")
    assert load(tmp_path, CRM_CONCURRENCY="3").crm_concurrency == 3


def test_an_empty_exported_token_unsets_the_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CRM_API_TOKEN=abc\n")
    assert load(tmp_path, CRM_API_TOKEN=" ").crm_api_token is None


@pytest.mark.parametrize(
    ("line", "meant"), [("WORK_STRAT_TIME=08:00", "WORK_START_TIME"), ("CRM_APITOKEN=x", "CRM_API_TOKEN")]
)
def test_a_near_miss_in_the_file_is_refused_with_the_name_that_was_meant(line: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"\n# comment\n{line}\n")
    assert refusal(tmp_path).endswith(f"unknown variable {line.partition('=')[0]}; did you mean {meant}?")


def test_other_programs_variables_in_the_file_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATE_COMM_KEY=12345\nPOSTGRES_PASSWORD=x\n")
    assert load(tmp_path).crm_api_token is None
    assert read_variable("GATE_COMM_KEY", tmp_path, {}) == "12345"
    assert read_variable("GATE_COMM_KEY", tmp_path, {"GATE_COMM_KEY": "6"}) == "6"
    assert read_variable("UNSET", tmp_path, {}) is None


@pytest.mark.parametrize("line", ["WORK_START_TIME", "WORK_START_TIME 08:00", "= 5", "CRM_API_TOKEN='abc"])
def test_a_malformed_line_is_refused_with_its_number_and_without_its_text(line: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"CRM_CONCURRENCY=2\n{line}\n")
    assert refusal(tmp_path) == f"{tmp_path / '.env'}, line 2: not of the form NAME=value"


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("CRM_API_TOKEN=sécret\n".encode("latin-1"))
    assert refusal(tmp_path) == f"{tmp_path / '.env'}: cannot be read: it is not text in UTF-8"


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_its_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CRM_CONCURRENCY=2\n", encoding="utf-8-sig")
    assert load(tmp_path).crm_concurrency == 2


def test_secrets_show_in_no_text_of_the_settings_nor_in_a_refusal(tmp_path: Path) -> None:
    secrets = {"CRM_API_TOKEN": "s3cret-token", "ALERT_URLS": "slack://s3cret-hook"}
    settings = load(tmp_path, **secrets)
    shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    shown += refusal(tmp_path, **secrets, CRM_CONCURRENCY="many")
    assert "s3cret" not in shown
    assert settings.crm_api_token is not None
    assert settings.crm_api_token.get_secret_value() == "s3cret-token"


@pytest.mark.parametrize(
    ("start", "end", "begins"),
    [
        ("22:00", "06:00", time(14)),
        ("18:00", "09:00", time(13, 30)),
        ("23:59", "00:00", time(11, 59)),
        ("18:01", "06:00", time(12)),
        ("09:00", "18:00", time(0)),
        ("00:00", "08:00", time(0)),
    ],
)
def test_a_work_date_begins_at_midnight_or_in_the_middle_of_an_overnight_shifts_time_off(
    start: str, end: str, begins: time, tmp_path: Path
) -> None:
    assert load(tmp_path, WORK_START_TIME=start, WORK_END_TIME=end).workday_starts_at == begins
    chosen = load(tmp_path, WORK_START_TIME=start, WORK_END_TIME=end, WORKDAY_STARTS_AT="4:30")
    assert chosen.workday_starts_at == time(4, 30)


def test_a_database_path_of_its_own_is_taken_as_it_is(tmp_path: Path) -> None:
    assert (
        load(tmp_path / "home", ZK_PIPELINE_DATABASE=str(tmp_path / "x.duckdb")).database_path == tmp_path / "x.duckdb"
    )
    assert load(tmp_path, ZK_PIPELINE_DATABASE="~/x.duckdb").database_path == Path.home() / "x.duckdb"


@pytest.mark.parametrize("name", ["ZK_PIPELINE_HOME", "DAGSTER_HOME"])
def test_the_home_cannot_be_named_by_the_file_that_is_looked_for_in_it(name: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{name}=/elsewhere\n")
    assert refusal(tmp_path).endswith(f"line 1: {name} decides where this file is read from: export it")


def test_a_shared_store_is_named_with_its_folder_in_the_home_and_shows_no_password(tmp_path: Path) -> None:
    address = "ducklake:postgres:postgresql://zk:hidden@db/attendance;data=lake"
    settings = load(tmp_path, ZK_PIPELINE_DATABASE=address)
    assert str(settings.store) == (f"ducklake:postgres:host=db user=zk dbname=attendance;data={tmp_path / 'lake'}")
    assert settings.database_path == tmp_path / "data" / "shared-store"
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ZK_PIPELINE_DATABASE", "ducklake:postgres:hidden"),
        ("ZK_PIPELINE_DATABASE", "ducklake:postgres:password=hidden;data=x"),
        ("PUBLISH_SNAPSHOT", "copy.duckdb"),
    ],
)
def test_what_is_wrong_with_a_shared_store_is_said_without_its_password(
    tmp_path: Path, variable: str, value: str
) -> None:
    address = "ducklake:postgres:postgresql://zk:hidden@db/attendance;data=lake"
    with pytest.raises(UsageError, match=f"^{variable}") as refused:
        load(tmp_path, **({"ZK_PIPELINE_DATABASE": address} | {variable: value}))
    assert "hidden" not in str(refused.value)


def test_event_codes_are_numbers_and_ranges(tmp_path: Path) -> None:
    assert load(tmp_path, RECEIVER_PUNCH_EVENTS=" 0, 14-16,203 ").receiver_punch_events == (0, 14, 15, 16, 203)
    assert load(tmp_path, RECEIVER_PUNCH_EVENTS=" ").receiver_punch_events is None
