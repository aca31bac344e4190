"""Layout of every page: skip link, local styles and scripts, errors in place."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.terminals.devices import DeviceRegistry
from zk_pipeline.web.routers import ROUTERS
from zk_pipeline_tests.web.web_fixtures import Web


def test_styles_and_scripts_come_from_here_and_are_shipped_with_their_licence(web: Web) -> None:
    with web.client(None) as stranger:
        for name, kind in (
            ("style.css", "text/css"),
            ("htmx-2.0.11.min.js", "javascript"),
            ("htmx-2.0.11.LICENSE.txt", "text/plain"),
            ("icon.svg", "image/svg+xml"),
        ):
            answer = stranger.get(f"/static/{name}")
            assert (answer.status_code, kind in answer.headers["content-type"]) == (200, True), name
        assert "//" not in stranger.get("/login").text  # no address of another host


def test_requests_without_a_session_are_redirected_to_the_login_page_by_scripts_too(web: Web) -> None:
    script = {"HX-Request": "true", "HX-Current-URL": f"{web.url}/devices?a=1"}
    with web.client(None) as stranger:
        plain, scripted = stranger.get("/?a=1"), stranger.post("/devices/1/test", data={"a": "b"}, headers=script)
        others = [
            stranger.get("/", headers={"HX-Request": "true", "HX-Current-URL": url})
            for url in ("https://evil.example", "http://[", "//evil.example", "")
        ]
    assert (plain.status_code, plain.headers["location"]) == (303, "/login?next=/%3Fa%3D1")
    assert (scripted.status_code, scripted.headers["hx-redirect"]) == (204, "/login?next=/devices%3Fa%3D1")
    assert {one.headers["hx-redirect"] for one in others} == {"/login"}


def test_every_form_needs_a_login_and_a_token_of_its_session(web: Web) -> None:
    paths = [
        re.sub(r"{\w+}", "1", route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ()) and route.path != "/login"
    ]
    assert len(paths) > 12
    file = {"file": ("a.csv", b"date,name\n")}
    with web.client(None) as stranger, web.client() as admin:
        for path in paths:
            for files in (None, file):
                assert stranger.post(path, data={"a": "b"}, files=files).headers.get("location") == "/login", path
                refused = admin.post(path, data={"csrf_token": "guess"}, files=files)
                # 415: the other content type is not read.
                assert refused.status_code in (403, 415), path
            assert 403 in {admin.post(path, data={"csrf_token": ""}, files=one).status_code for one in (None, file)}


def test_an_error_replaces_the_content_and_a_temporary_one_keeps_a_polling_page(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: object) -> None:
        raise StoreBusy("locked by process 17")

    script = {"HX-Request": "true"}
    with web.client() as admin:
        refused = admin.post("/devices/1/test", data={"csrf_token": "guess"}, headers=script)
        assert (refused.status_code, refused.headers["hx-retarget"]) == (403, "#main")
        monkeypatch.setattr(DeviceRegistry, "all", busy)
        plain, refresh = admin.get("/devices"), admin.get("/devices", headers=script)
    assert (plain.status_code, "17" in plain.text, "is locked" in plain.text) == (503, False, True)
    assert (refresh.status_code, refresh.text) == (204, "")
