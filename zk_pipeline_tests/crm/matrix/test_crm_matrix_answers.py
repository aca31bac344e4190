"""Rejections, deferrals, unexpected answers, and no answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from zk_pipeline.simulator.crm.faults import (
    Fault,
    FaultRule,
    ReceivedRequest,
    any_of,
    first,
    html_page,
    no_fault,
    redirect,
    refusal,
    whenever,
)
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline_tests.crm.crm_doubles import TOKEN, make_certificate
from zk_pipeline_tests.crm.due_days import person
from zk_pipeline_tests.crm.matrix.conftest import DUE, Case
from zk_pipeline_tests.crm.matrix.crm_judge import ALL_BUT_DEAD, ONCE
from zk_pipeline_tests.store.store_fixtures import rows


def each_once(*faults: Fault, every: int = 1) -> FaultRule:
    """One fault after the other, each for one of `every` requests."""
    left = iter(faults)
    return lambda received: next(left, None) if received.number % every == 0 else None


AFTER_COMMIT = (
    Fault(delay_after=5),  # a timeout
    Fault(drip=0.1),
    Fault(cut_after=20),
    Fault(cut_after=-1),  # before the last byte
    Fault(drop="after"),
)


@pytest.mark.parametrize("batch", ["1", "5"])
def test_an_outcome_that_nobody_heard_of_is_asked_for_again_under_the_same_key(case: Case, batch: str) -> None:
    case.receiver.fault_rule = each_once(*AFTER_COMMIT, every=2)
    assert case.sync(CRM_REQUEST_TIMEOUT="1.5", CRM_BATCH_SIZE=batch).summary.delivered == DUE
    assert case.replays() == len(AFTER_COMMIT) * int(batch)
    assert case.applied() == DUE
    case.settle()


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_429_holds_the_whole_pool_until_the_time_it_names(case: Case, form: str) -> None:
    arrived: list[float] = []
    asked_at: list[float] = []

    def busy_once(_: ReceivedRequest) -> Fault | None:
        arrived.append(time.monotonic())
        if asked_at or len(arrived) < 20:
            return None
        asked_at.append(time.monotonic())
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
        return refusal(429, retry_after="2" if form == "seconds" else until)

    case.receiver.fault_rule = busy_once
    assert case.sync().summary.delivered == DUE
    during_pause = [moment for moment in arrived if asked_at[0] < moment < asked_at[0] + 1.7]
    assert len(during_pause) <= 8, "no more may still come than was in progress until the answer was read"
    assert case.receiver.posts == DUE + 1
    case.settle()


def test_500_and_then_200_is_one_delivery_more_patiently(case: Case) -> None:
    case.receiver.fault_rule = first(5, refusal(500))
    assert case.sync().summary.delivered == DUE
    assert case.states() == {"delivered": (DUE, DUE + 5)}
    assert case.replays() == 0
    case.settle()


INTERIM = (
    Fault(interim=b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"),
    Fault(interim=b"HTTP/1.1 102 Processing\r\n\r\n" * 3),
)


def test_interim_answers_give_no_record_the_answer_of_another(case: Case) -> None:
    case.receiver.unknown_users = {person(7)}
    case.receiver.fault_rule = each_once(*INTERIM * 5, every=3)
    ended = case.sync().summary
    assert (ended.delivered, ended.failed) == (DUE - 2, 2)
    assert case.replays() == 0
    case.settle(ALL_BUT_DEAD)


TWO_ANSWERS, LONGER_THAN_ITS_LENGTH = b"HTTP/1.1 201 \r\nContent-Length: 0\r\n\r\n", b"}"


def test_what_comes_behind_an_answer_is_nobody_elses(case: Case) -> None:
    case.receiver.unknown_users = {person(7)}
    case.receiver.fault_rule = each_once(*(Fault(extra=TWO_ANSWERS), Fault(extra=LONGER_THAN_ITS_LENGTH)) * 5, every=3)
    ended = case.sync().summary
    assert (ended.delivered, ended.failed) == (DUE - 2, 2)
    case.settle(ALL_BUT_DEAD)


NO_SUCCESS = (
    b'<br />\n<b>Notice</b>: Undefined index\n{"applied": 1}',  # a notice of PHP before the JSON
    b'{"applied": ',
    b'{"success": false}',
    b'{"error": "deadlock"}',
    b'[{"status": 503}]',  # with 207
    b"PHP Fatal error:  Uncaught PDOException",
    b"<Fault><faultstring>no</faultstring></Fault>",
    b"OK",
    b'{"jsonrpc": "2.0", "error": {"code": -32000, "message": "no"}, "id": 1}',
    b'{"data": null, "errors": [{"message": "no"}]}',
    b'{"status": 500}',
)


@pytest.mark.parametrize("is_applied", [True, False], ids=["applied", "not applied"])
def test_a_2xx_that_does_not_show_success_is_asked_for_again(case: Case, is_applied: bool) -> None:
    troubles = [Fault(success_body=said) if is_applied else Fault(status=200, body=said) for said in NO_SUCCESS]
    case.receiver.fault_rule = each_once(*troubles, every=3)
    assert case.sync().summary.delivered == DUE
    assert case.states() == {"delivered": (DUE, DUE + len(NO_SUCCESS))}
    assert case.replays() == (len(NO_SUCCESS) if is_applied else 0)
    case.settle()


def reversed_by(*names: str, **renamed: str) -> Callable[[list[dict[str, object]]], object]:
    """Results in reversed order that say of their record what `names` has, with an index from 0."""

    def reshape(results: list[dict[str, object]]) -> object:
        numbered = [result | {"index": number} for number, result in enumerate(results)]
        items = [
            {renamed.get(name, name): str(one[name]) if name == "status" else one[name] for name in names}
            for one in numbered
        ]
        return {"items": items[::-1]}

    return reshape


SHAPES = (
    reversed_by("idempotency_key", "status"),  # statuses as text
    reversed_by("index", "status"),
    reversed_by("idempotency_key", "status", idempotency_key="idempotencyKey", status="statusCode"),
)


def test_results_in_another_order_and_shape_are_each_records_own(case: Case) -> None:
    case.receiver.unknown_users = {person(7), person(12)}
    case.receiver.fault_rule = each_once(*(Fault(reshape=reshape) for reshape in SHAPES * 5))
    ended = case.sync(CRM_BATCH_SIZE="5").summary
    assert (ended.delivered, ended.failed) == (DUE - 4, 4)
    assert case.replays() == 0
    words = rows(case.store, "SELECT DISTINCT user_id FROM crm_deliveries WHERE state = 'failed' ORDER BY 1")
    assert words == [(person(7),), (person(12),)]
    case.settle(ALL_BUT_DEAD)


def only_what_went_well(results: list[dict[str, object]]) -> object:
    return [one for one in results if one["status"] != 422]


def test_results_without_those_that_failed_leave_only_these_unknown(case: Case) -> None:
    case.receiver.unknown_users = {person(7)}
    case.receiver.fault_rule = whenever(lambda _: True, Fault(reshape=only_what_went_well))
    ended = case.sync(CRM_BATCH_SIZE="25").summary
    assert (ended.delivered, ended.failed) == (DUE - 2, 0)
    assert case.replays() == 0, "what was delivered is not sent again"
    case.settle(ALL_BUT_DEAD)


def test_a_207_with_a_refusal_inside_is_a_refusal_of_the_single_record(case: Case) -> None:
    refused = Fault(status=207, body=b'{"results": [{"status": 422, "detail": "no such employee"}]}')
    case.receiver.fault_rule = whenever(lambda request: person(7) in request.user_ids, refused)
    ended = case.sync().summary
    assert (ended.delivered, ended.failed) == (DUE - 2, 2)
    case.settle(ALL_BUT_DEAD)


def test_an_answer_that_looks_like_a_wrong_address_is_one_persons_where_others_are_accepted(case: Case) -> None:
    statuses = {person(4 * number): status for number, status in enumerate((400, 404, 405, 410, 415, 422))}
    # The message of a GET of a wrong address.
    case.receiver.fault_rule = any_of(
        *(
            whenever(lambda request, user=user: user in request.user_ids, refusal(status, detail="no such address"))  # type: ignore[misc]
            for user, status in statuses.items()
        )
    )
    ended = case.sync().summary
    failed = 2 * len(statuses)
    assert (ended.delivered, ended.failed) == (DUE - failed, failed)
    assert case.replays() == 0
    case.settle(ALL_BUT_DEAD)


@pytest.mark.parametrize("batch", [pytest.param("1", marks=pytest.mark.matrix), "25"])
def test_a_wrong_address_stops_the_run_and_makes_no_dead_letters(case: Case, batch: str) -> None:
    case.receiver.fault_rule = whenever(lambda _: True, refusal(404, detail="no such address"))
    ended = case.sync(CRM_API_URL=case.receiver.url.replace("attendance", "elsewhere"), CRM_BATCH_SIZE=batch)
    assert ended.kind == "CrmMisconfigured"
    assert "CRM_API_URL" in str(ended.error)
    assert "failed" not in case.states()
    assert case.states()["pending"][0] >= DUE - 10, "a few showed it"
    case.settle()


EVERYBODYS = {
    "403": (lambda: refusal(403), "CRM_API_TOKEN"),
    "a web page with 200": (html_page, "CRM_API_URL"),
}


@pytest.mark.parametrize("batch", ["1", "10"])
@pytest.mark.parametrize(("trouble", "said"), EVERYBODYS.values(), ids=EVERYBODYS)
def test_what_everybody_gets_stops_the_run_and_spends_no_attempt(
    case: Case, trouble: Callable[[], Fault], said: str, batch: str
) -> None:
    case.receiver.fault_rule = whenever(lambda _: True, trouble())
    ended = case.sync(CRM_BATCH_SIZE=batch)
    assert ended.kind == "CrmMisconfigured"
    assert said in str(ended.error)
    assert case.receiver.posts <= (20 if batch == "1" else DUE)
    assert case.states() == {"pending": (DUE, 0)}
    case.settle()


TOGETHER = {
    "404": lambda: refusal(404, detail="not found"),
    "403": lambda: refusal(403),
    "422": lambda: refusal(422, detail="no"),
    "a web page with 200": html_page,
}


@pytest.mark.parametrize("count", [6, 20])
@pytest.mark.parametrize("trouble", TOGETHER.values(), ids=TOGETHER)
def test_people_who_stand_together_and_are_refused_at_once_hold_up_nobody(
    case: Case, trouble: Callable[[], Fault], count: int
) -> None:
    """A refusal is quicker than an acceptance: with many of them, no record has been accepted when the fifth comes."""
    refused = {person(number) for number in range(count)}
    case.receiver.fault_rule = any_of(
        whenever(lambda request: bool(refused & set(request.user_ids)), trouble()),
        whenever(lambda _: True, Fault(delay_before=0.1)),
    )
    ended = case.sync()
    assert ended.kind is None, ended.error
    is_refusal = trouble is not html_page  # a web page says nothing of the record, which waits
    failed, retry = (2 * count, 0) if is_refusal else (0, 2 * count)
    assert (ended.summary.delivered, ended.summary.failed, ended.summary.retry) == (DUE - 2 * count, failed, retry)
    case.receiver.fault_rule = no_fault
    case.settle(ALL_BUT_DEAD if is_refusal else ONCE)


@pytest.mark.parametrize("batch", [pytest.param("1", marks=pytest.mark.matrix), "25"])
def test_a_person_whom_the_token_may_not_touch_holds_up_nobody(case: Case, batch: str) -> None:
    """Also as the first of the queue, before the CRM has accepted anything; alone, nothing shows whose fault it is."""
    case.receiver.fault_rule = whenever(lambda request: person(0) in request.user_ids, refusal(403))
    alone = case.sync(SyncScope(user_id=person(0)), CRM_BATCH_SIZE=batch)
    assert alone.kind == "CrmMisconfigured"
    assert case.states().keys() == {"pending"}
    ended = case.sync(CRM_BATCH_SIZE=batch).summary
    assert (ended.delivered, ended.failed) == (DUE - 2, 2)
    case.settle(ALL_BUT_DEAD)


STOPPING: dict[str, Callable[[], Fault]] = {
    "redirect to a login page": lambda: redirect("https://login.example.com/?next=/api/"),
    "permanent redirect": lambda: redirect("https://crm.example.com/api/", status=308),
    "401": lambda: refusal(401),
}


@pytest.mark.parametrize("batch", ["1", "25"])
@pytest.mark.parametrize("trouble", STOPPING.values(), ids=STOPPING)
def test_an_answer_about_the_set_up_stops_the_run_and_spends_no_attempt(
    case: Case, trouble: Callable[[], Fault], batch: str
) -> None:
    case.receiver.fault_rule = whenever(lambda _: True, trouble())
    ended = case.sync(CRM_BATCH_SIZE=batch)
    assert ended.kind == "CrmMisconfigured"
    assert case.receiver.posts <= 4
    assert case.states() == {"pending": (DUE, 0)}
    assert case.applied() == 0
    case.settle()


def test_a_wrong_token_stops_the_run_and_shows_it_nowhere(case: Case) -> None:
    ended = case.sync(CRM_API_TOKEN="another-secret")
    assert ended.kind == "CrmMisconfigured"
    assert "another-secret" not in str(ended)
    assert case.states() == {"pending": (DUE, 0)}
    case.settle()


@pytest.mark.parametrize(("days", "is_self_signed"), [(-1, False), (365, True)], ids=["expired", "self-signed"])
def test_a_certificate_that_cannot_be_trusted_stops_the_run_before_anything_is_told(
    case: Case, days: int, is_self_signed: bool
) -> None:
    folder = case.home
    ends = datetime.now(UTC) + timedelta(days=days)
    bad = make_certificate(folder, ends=ends, is_self_signed=is_self_signed)
    with CrmReceiver(token=TOKEN, tls=bad.tls) as stranger:
        ended = case.sync(CRM_API_URL=stranger.url, CRM_CA_BUNDLE=str(bad.authority))
        assert stranger.posts == 0
    assert ended.kind == "CrmMisconfigured"
    assert "certificate" in str(ended.error)
    assert case.states() == {"pending": (DUE, 0)}
    case.settle()


@pytest.mark.parametrize("batch", ["10", *(pytest.param(size, marks=pytest.mark.matrix) for size in ("1", "100"))])
def test_one_poison_record_among_many_is_a_dead_letter_and_the_rest_arrives(case: Case, batch: str) -> None:
    case.receiver.unknown_users = {person(7)}
    ended = case.sync(CRM_BATCH_SIZE=batch).summary
    assert (ended.delivered, ended.failed) == (DUE - 2, 2)  # that person's two dates
    assert case.applied() == DUE - 2
    assert case.replays() == 0
    words = rows(
        case.store, "SELECT DISTINCT user_id, last_status, last_error FROM crm_deliveries WHERE state = 'failed'"
    )
    assert [(user, status) for user, status, _ in words] == [(person(7), 422)]
    assert "no employee" in words[0][2]
    case.settle(ALL_BUT_DEAD)


def test_a_poison_record_that_has_whole_arrays_refused_is_found_and_the_rest_arrives(case: Case) -> None:
    case.receiver.fault_rule = whenever(lambda request: person(7) in request.user_ids, refusal(400))
    ended = case.sync(CRM_BATCH_SIZE="50").summary
    assert (ended.delivered, ended.failed) == (DUE - 2, 2)
    assert case.applied() == DUE - 2
    case.settle(ALL_BUT_DEAD)


def test_a_batch_of_which_some_are_put_off_sends_only_those_again(case: Case) -> None:
    put_off = {person(n): 503 for n in range(10)}
    case.receiver.fault_rule = first(1, Fault(record_status=put_off))
    assert case.sync(CRM_BATCH_SIZE="25", CRM_CONCURRENCY="1").summary.delivered == DUE
    assert case.states() == {"delivered": (DUE, DUE + 10)}
    assert case.replays() == 0
    case.settle()


def test_a_batch_answer_that_is_too_short_is_unknown_for_the_rest_and_says_so(case: Case) -> None:
    case.receiver.fault_rule = first(1, Fault(keep_results=30))
    assert case.sync(CRM_BATCH_SIZE="50", CRM_CONCURRENCY="1").summary.delivered == DUE
    assert case.replays() == 20
    ((said,),) = rows(case.store, "SELECT DISTINCT error FROM crm_attempts WHERE outcome = 'unknown'")
    assert "30 of 50 records" in said
    case.settle()


def test_a_token_rotated_in_mid_run_is_read_again_and_nobody_notices(case: Case) -> None:
    file = case.home / "token"
    file.write_text(TOKEN)

    def rotate(received: ReceivedRequest) -> None:
        if received.number == 10:
            file.write_text("the-new-token\n")
            case.receiver.token = "the-new-token"

    case.receiver.fault_rule = rotate
    ended = case.sync(CRM_API_TOKEN="", CRM_API_TOKEN_FILE=str(file), CRM_CONCURRENCY="1")
    assert (ended.error, ended.summary.delivered) == (None, DUE)
    assert case.states() == {"delivered": (DUE, DUE)}
    case.receiver.token = TOKEN
    case.settle()
