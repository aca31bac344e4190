"""The metrics page: both text formats parse, counters never fall, labels come from bounded sets."""

from __future__ import annotations

import ast
from datetime import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import zk_pipeline
from zk_pipeline.attendance.shifts import Holiday, Shift
from zk_pipeline.store.locks.lock_statistics import MAX_OPERATIONS, OTHER
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, push
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, execute, ingest, on

# family → type and labels of its samples, without `le`
FAMILIES = {
    "zk_punches": ("gauge", ""),
    "zk_attendance_days": ("gauge", ""),
    "zk_outlier_days": ("gauge", ""),
    "zk_quarantined_records": ("gauge", ""),
    "zk_stale_work_dates": ("gauge", ""),
    "zk_deliveries": ("gauge", "state"),
    "zk_delivery_queue_age_seconds": ("gauge", ""),
    "zk_polls": ("counter", "device status"),
    "zk_poll_seconds": ("counter", "device status"),
    "zk_new_punches": ("counter", "device status"),
    "zk_push_uploads": ("counter", "device"),
    "zk_push_lines": ("counter", "device outcome"),
    "zk_push_last_contact_timestamp_seconds": ("gauge", "device"),
    "zk_push_pending_terminals": ("gauge", ""),
    "zk_device_last_success_timestamp_seconds": ("gauge", "device"),
    "zk_device_clock_drift_seconds": ("gauge", "device"),
    "zk_device_log_used_ratio": ("gauge", "device"),
    "zk_device_last_poll_duration_seconds": ("gauge", "device"),
    "zk_daemon_alive": ("gauge", ""),
    "zk_daemon_heartbeat_age_seconds": ("gauge", ""),
    "zk_runs_in_progress": ("gauge", ""),
    "zk_http_requests": ("counter", "method route status"),
    "zk_http_request_duration_seconds": ("histogram", "route"),
    "zk_store_lock_hold_seconds": ("histogram", "mode operation"),
    "zk_store_lock_wait_seconds": ("histogram", "mode operation"),
    "zk_store_lock_timeouts": ("counter", "mode operation"),
}
WORK_START, WORK_END = time(9), time(18)
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}


def families(client: httpx.Client) -> dict[str, Metric]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def counters(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample that must not fall: of counters, and of histograms all but their bounds."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(client).values()
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def test_the_page_has_every_family_with_its_type_labels_and_help(filled: Store, own: Served) -> None:
    assert filled.punches.total() > 0
    with own.client("read") as client:
        client.get("/api/devices/")
        shown = families(client)
    found = {
        name: (family.type, " ".join(sorted({label for one in family.samples for label in one.labels} - {"le"})))
        for name, family in shown.items()
    }
    without_samples = {name for name, family in shown.items() if not family.samples}
    of_push = {name for name in FAMILIES if name.startswith("zk_push_")}
    assert without_samples <= {"zk_daemon_heartbeat_age_seconds", "zk_device_log_used_ratio"} | of_push
    expected = {name: (kind, "" if name in without_samples else labels) for name, (kind, labels) in FAMILIES.items()}
    assert found == expected
    assert [name for name, family in shown.items() if not family.documentation.endswith(".")] == []
    assert shown["zk_punches"].samples[0].value == filled.punches.total()


def test_openmetrics_is_sent_to_whoever_accepts_it_and_parses_strictly(own: Served) -> None:
    with own.client("read") as client:
        answer = client.get("/metrics", headers=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {one.name for one in openmetrics.text_string_to_metric_families(answer.text)} == FAMILIES.keys()


def test_names_of_devices_are_escaped(own: Served) -> None:
    name = 'Gate "north" \\ 2'
    store = own.services.store
    store.devices.add(device(name))
    ingest(store, name, *on(MONDAY, "08:00"))
    with own.client("read") as client:
        polls = families(client)["zk_polls"].samples
    assert [one.labels["device"] for one in polls] == [name]


def test_no_counter_falls_at_a_clean_up(own: Served) -> None:
    store = own.services.store
    store.devices.add(device())
    for _ in range(5):
        ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    execute(store, "UPDATE device_polls SET started_at = finished_at - to_microseconds(100001 * id)")
    execute(store, "UPDATE device_polls SET finished_at = finished_at - INTERVAL 1000 DAYS")
    with own.client("read") as client:
        before = counters(client)
        assert store.retention.clean(retention_days=0, poll_days=30).polls == 3
        after = counters(client)
    assert {name: (value, after.get(name)) for name, value in before.items() if after.get(name, -1) < value} == {}
    assert after["zk_polls_total", (("device", "Gate"), ("status", "success"))] == 5


def test_lines_of_terminals_that_push_are_counted_by_outcome(own: Served) -> None:
    store = own.services.store
    adopt(store)
    contact(store, "PENDING")
    push(store, ("1", "2026-03-02 08:00"), ("1", "2026-03-02 09:00"), rejected=[b"x"])
    push(store, ("1", "2026-03-02 09:00"))
    with own.client("read") as client:
        shown = families(client)
    lines = {one.labels["outcome"]: one.value for one in shown["zk_push_lines"].samples}
    assert lines == {"new": 2, "duplicate": 1, "quarantined": 1, "other": 0}
    assert [one.value for one in shown["zk_push_uploads"].samples] == [2]
    assert [one.value for one in shown["zk_push_pending_terminals"].samples] == [1]
    assert abs(shown["zk_push_last_contact_timestamp_seconds"].samples[0].value - store.clock().timestamp()) < 600


def test_labels_of_the_lock_metrics_do_not_grow_with_devices(own: Served) -> None:
    def operations(first: int, last: int) -> set[str]:
        store = own.services.store
        for number in range(first, last):
            name = f"Gate {number}"
            store.devices.add(device(name))
            ingest(store, name, *on(MONDAY, "08:00", user_id=str(number)))
            store.quarantine.of(name)
            store.quarantine.layout_of(name)
            store.shifts.add(Shift(name=name, start=WORK_START, end=WORK_END))
            store.shifts.remove(name)
            store.holidays.put([Holiday(day=MONDAY, name=name, site=name)])
            store.holidays.remove(MONDAY, name)
        with own.client("read") as client:
            samples = families(client)["zk_store_lock_hold_seconds"].samples
        return {one.labels["operation"] for one in samples}

    few = operations(0, 2)
    assert operations(2, 5) <= few | {"note API tokens in use"}  # which happens once a minute
    assert not [name for name in few if "Gate" in name or any(letter.isdigit() for letter in name)]


def test_every_operation_on_the_store_has_a_fixed_name_and_all_fit_into_the_statistics() -> None:
    """The first argument of `database.read`, `write` and `exclusive` is the label; details are the second."""
    names, varying = set(), []
    for path in Path(zk_pipeline.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("read", "write", "exclusive")
                and ast.unparse(node.func.value).endswith("database")
            ):
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    names.add(str(name.value))
                elif not (isinstance(name, ast.Name) and name.id.isupper()):
                    varying.append(f"{path.name}:{node.lineno}: {ast.unparse(name)}")
    assert varying == []
    assert 50 < len(names) < MAX_OPERATIONS
    assert OTHER not in names


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "LOCK"])
def test_unusual_methods_share_one_label(own: Served, method: str) -> None:
    with own.client("read") as client:
        client.request(method, "/api/devices/")
        requests = families(client)["zk_http_requests"].samples
    assert {one.labels["method"] for one in requests} <= {"GET", "(other)"}
