"""Answers that say no, later, something else, or nothing at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from zk_pipeline.simulator.crm_misbehaviour import Received, Trouble, first, html_page, redirect, refusal, whenever
from zk_pipeline.simulator.crm_receiver import CrmReceiver
from zk_pipeline_tests.crm.crm_doubles import TOKEN, make_certificate
from zk_pipeline_tests.crm.due_days import person
from zk_pipeline_tests.crm.matrix.conftest import Case
from zk_pipeline_tests.crm.matrix.crm_judge import ALL_BUT_DEAD
from zk_pipeline_tests.store.store_bench import rows

AFTER_COMMIT = {
    "timeout after commit": Trouble(delay_after=5),
    "slow drip": Trouble(drip=0.1),
    "reset mid-answer": Trouble(cut_after=20),
    "reset before the last byte": Trouble(cut_after=-1),
    "dropped after commit": Trouble(drop="after"),
}


@pytest.mark.parametrize("batch", ["1", "25"])
@pytest.mark.parametrize("trouble", AFTER_COMMIT.values(), ids=AFTER_COMMIT)
def test_an_outcome_that_nobody_heard_of_is_asked_for_again_under_the_same_key(
    case: Case, trouble: Trouble, batch: str
) -> None:
    case.receiver.misbehave = first(2, trouble)
    assert case.sync(CRM_REQUEST_TIMEOUT="1.5", CRM_BATCH_SIZE=batch).summary.delivered == 100
    assert case.replays() == 2 * int(batch)
    assert case.applied() == 100
    case.settle()


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_429_holds_the_whole_pool_until_the_time_it_names(case: Case, form: str) -> None:
    arrived: list[float] = []
    told: list[float] = []

    def busy_once(_: Received) -> Trouble | None:
        arrived.append(time.monotonic())
        if told or len(arrived) < 20:
            return None
        told.append(time.monotonic())
        until = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=3), usegmt=True)
        return refusal(429, retry_after="2" if form == "seconds" else until)

    case.receiver.misbehave = busy_once
    assert case.sync().summary.delivered == 100
    meanwhile = [moment for moment in arrived if told[0] < moment < told[0] + 1.7]
    assert len(meanwhile) <= 8, "no more may still come than was under way until the answer was read"
    assert case.receiver.posts == 101
    case.settle()


def test_500_and_then_200_is_one_delivery_more_patiently(case: Case) -> None:
    case.receiver.misbehave = first(5, refusal(500))
    assert case.sync().summary.delivered == 100
    assert case.states() == {"delivered": (100, 105)}
    assert case.replays() == 0
    case.settle()


STOPPING: dict[str, Callable[[], Trouble]] = {
    "redirect to a login page": lambda: redirect("https://login.example.com/?next=/api/"),
    "permanent redirect": lambda: redirect("https://crm.example.com/api/", status=308),
    "HTML with 200": html_page,
    "403": lambda: refusal(403),
    "401": lambda: refusal(401),
}


@pytest.mark.parametrize("batch", ["1", "25"])
@pytest.mark.parametrize("trouble", STOPPING.values(), ids=STOPPING)
def test_an_answer_about_the_set_up_stops_the_run_and_spends_no_attempt(
    case: Case, trouble: Callable[[], Trouble], batch: str
) -> None:
    case.receiver.misbehave = whenever(lambda _: True, trouble())
    ended = case.sync(CRM_BATCH_SIZE=batch)
    assert ended.kind == "CrmMisconfigured"
    assert case.receiver.posts <= 4
    assert case.states() == {"pending": (100, 0)}
    assert case.applied() == 0
    case.settle()


def test_a_wrong_token_stops_the_run_and_shows_it_nowhere(case: Case) -> None:
    ended = case.sync(CRM_API_TOKEN="another-secret")
    assert ended.kind == "CrmMisconfigured"
    assert "another-secret" not in str(ended)
    assert case.states() == {"pending": (100, 0)}
    case.settle()


@pytest.mark.parametrize(("days", "is_self_signed"), [(-1, False), (365, True)], ids=["expired", "self-signed"])
def test_a_certificate_that_cannot_be_trusted_stops_the_run_before_anything_is_told(
    case: Case, days: int, is_self_signed: bool
) -> None:
    folder = case.home
    ends = datetime.now(timezone.utc) + timedelta(days=days)
    bad = make_certificate(folder, ends=ends, is_self_signed=is_self_signed)
    with CrmReceiver(token=TOKEN, tls=bad.tls) as stranger:
        ended = case.sync(CRM_API_URL=stranger.url, CRM_CA_BUNDLE=str(bad.authority))
        assert stranger.posts == 0
    assert ended.kind == "CrmMisconfigured"
    assert "certificate" in str(ended.error)
    assert case.states() == {"pending": (100, 0)}
    case.settle()


@pytest.mark.parametrize("batch", ["1", "10", "100"])
def test_one_poison_record_among_a_hundred_is_a_dead_letter_and_the_rest_arrives(case: Case, batch: str) -> None:
    case.receiver.unknown_users = {person(7)}
    ended = case.sync(CRM_BATCH_SIZE=batch).summary
    assert (ended.delivered, ended.failed) == (98, 2)  # that person's two dates
    assert case.applied() == 98
    assert case.replays() == 0
    words = rows(
        case.store, "SELECT DISTINCT user_id, last_status, last_error FROM crm_deliveries WHERE state = 'failed'"
    )
    assert [(user, status) for user, status, _ in words] == [(person(7), 422)]
    assert "no employee" in words[0][2]
    case.settle(ALL_BUT_DEAD)


def test_a_poison_record_that_has_whole_arrays_refused_is_found_and_the_rest_arrives(case: Case) -> None:
    case.receiver.misbehave = whenever(lambda request: person(7) in request.user_ids, refusal(400))
    ended = case.sync(CRM_BATCH_SIZE="50").summary
    assert (ended.delivered, ended.failed) == (98, 2)
    assert case.applied() == 98
    case.settle(ALL_BUT_DEAD)


def test_a_batch_of_which_some_are_put_off_sends_only_those_again(case: Case) -> None:
    put_off = {person(n): 503 for n in range(10)}
    case.receiver.misbehave = first(1, Trouble(record_status=put_off))
    assert case.sync(CRM_BATCH_SIZE="50", CRM_CONCURRENCY="1").summary.delivered == 100
    assert case.states() == {"delivered": (100, 110)}
    assert case.replays() == 0
    case.settle()


def test_a_batch_answer_that_is_too_short_is_unknown_for_the_rest_and_says_so(case: Case) -> None:
    case.receiver.misbehave = first(1, Trouble(keep_results=30))
    assert case.sync(CRM_BATCH_SIZE="50", CRM_CONCURRENCY="1").summary.delivered == 100
    assert case.replays() == 20
    ((said,),) = rows(case.store, "SELECT DISTINCT error FROM crm_attempts WHERE verdict = 'unknown'")
    assert "30 of 50 records" in said
    case.settle()


def test_a_token_rotated_in_mid_run_is_read_again_and_nobody_notices(case: Case) -> None:
    file = case.home / "token"
    file.write_text(TOKEN)

    def rotate(received: Received) -> None:
        if received.number == 10:
            file.write_text("the-new-token\n")
            case.receiver.token = "the-new-token"

    case.receiver.misbehave = rotate
    ended = case.sync(CRM_API_TOKEN="", CRM_API_TOKEN_FILE=str(file), CRM_CONCURRENCY="1")
    assert (ended.error, ended.summary.delivered) == (None, 100)
    assert case.states() == {"delivered": (100, 100)}
    case.receiver.token = TOKEN
    case.settle()
