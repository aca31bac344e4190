"""What every page has: a way past the navigation, styles and scripts from here, errors in place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zk_pipeline_tests.web.web_bench import Visit, Web, screenshot


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1440, False)])
def test_a_person_logs_in_with_a_token_and_out_again(
    web: Web, open_page: Callable[..., Visit], width: int, dark: bool
) -> None:
    page = open_page("/", scope=None, width=width, dark=dark).page
    assert page.url == f"{web.url}/login"
    screenshot(page, f"login-{width}-{'dark' if dark else 'light'}")
    page.get_by_label("API token").fill(web.served.tokens["admin"])
    page.keyboard.press("Enter")
    page.get_by_role("navigation", name="Pages of the admin").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("API token").wait_for()


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


def test_who_is_logged_out_is_sent_to_the_login_page_by_scripts_too(web: Web) -> None:
    with web.client(None) as stranger:
        plain, scripted = stranger.get("/?a=1"), stranger.get("/?a=1", headers={"HX-Request": "true"})
    assert (plain.status_code, plain.headers["location"]) == (303, "/login?next=/%3Fa%3D1")
    assert (scripted.status_code, scripted.headers["hx-redirect"]) == (204, "/login")
