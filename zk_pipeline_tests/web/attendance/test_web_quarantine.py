"""Page of the quarantine: reasons, bytes, and releasing records."""

from __future__ import annotations

import httpx

from zk_pipeline_tests.store.store_fixtures import rows
from zk_pipeline_tests.web.attendance.attended import MARCH
from zk_pipeline_tests.web.attendance.read_page import Drawn, drawn, walk
from zk_pipeline_tests.web.web_fixtures import Web


def release(client: httpx.Client, *devices: str) -> httpx.Response:
    token = drawn(client.get("/quarantine")).fields["csrf_token"]
    chosen = {f"device-{number}": name for number, name in enumerate(devices)} or {"all": "yes"}
    return client.post("/quarantine/release", data={"csrf_token": token} | chosen)


def records(page: Drawn) -> list[list[str]]:
    return [row for row in page.cells if len(row) == 6 and row[0].startswith("20")]


def test_records_are_listed_with_reason_and_bytes_and_released_once_decodable(operator: httpx.Client, web: Web) -> None:
    page = drawn(operator.get("/quarantine"))
    assert ["Quay gate", "impossible date", "2"] in [row[1:4] for row in page.cells]
    assert "ff" * 4 in records(page)[0][4] + records(page)[1][4]
    assert len([row for one in walk(operator, "/quarantine?page_size=1") for row in records(one)]) == 2

    assert "0 records decoded, 0 new punches, 2 still in quarantine" in drawn(release(operator)).text
    web.store.devices.update("Quay gate", encoding="cp1254")
    page = drawn(release(operator, "Quay gate", "North"))
    assert "1 record decoded, 1 new punch, 1 still in quarantine" in page.text
    assert rows(web.store, "SELECT punched_at_local::DATE FROM raw_punches WHERE user_id = 'Çağrı'") == [(MARCH,)]
    assert len(records(drawn(operator.get("/quarantine")))) == 1
    (freed,) = records(drawn(operator.get("/quarantine?released=true&name=Quay+gate")))
    assert freed[5].startswith("20")
    assert records(drawn(operator.get("/quarantine?name=North"))) == []


def test_a_release_needs_the_scope_operate_and_a_known_device(reader: httpx.Client, operator: httpx.Client) -> None:
    assert "Decode selected again" not in reader.get("/quarantine").text
    assert release(reader).status_code == 403
    assert operator.post("/quarantine/release", data={"device": "North"}).status_code == 403
    token = drawn(operator.get("/quarantine")).fields["csrf_token"]
    nothing = operator.post("/quarantine/release", data={"csrf_token": token})
    assert (nothing.status_code, nothing.headers["location"]) == (303, "/quarantine")
    unknown = release(operator, "Quay gate", "Nowhere")
    assert (unknown.status_code, "'Nowhere'" in drawn(unknown).alerts[0]) == (404, True)
