"""One record per user and work date, over HTTP: after any change at any site, the CRM has the whole day."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from zk_pipeline.config.settings import load_settings
from zk_pipeline.operations.sync import sync
from zk_pipeline.simulator.crm.faults import Fault, any_of, no_fault, refusal, sometimes, whenever
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.crm_doubles import TOKEN
from zk_pipeline_tests.crm.sync_children import start_sync
from zk_pipeline_tests.store.store_fixtures import MONDAY, copied, device, execute, ingest, on, process
from zk_pipeline_tests.waiting import until

SITES = ("A", "B", "C")
NAMESAKE = "1003"  # another employee at each site
PEOPLE = ("1001", "1002", NAMESAKE)


@pytest.fixture(scope="module")
def three_sites(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("sites"))
    for number, site in enumerate(SITES):
        store.devices.add(device(site, site=site, ip=f"192.0.2.{number}"))
        names = (("1001", "Eve Wood"), ("1002", ""), (NAMESAKE, ("Ali Kaya", "Ben Stone", "Carl Orff")[number]))
        ingest(store, site, users=[(user, int(user), name, 0, 0) for user, name in names])
    return store.database.where


@pytest.fixture
def store(three_sites: Where, tmp_path: Path) -> Store:
    return copied(three_sites, tmp_path)


@pytest.fixture
def crm() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as receiver:
        yield receiver


def variables(home: Path, crm: CrmReceiver, **more: str) -> dict[str, str]:
    return {"ZK_PIPELINE_HOME": str(home), "CRM_API_URL": crm.url, "CRM_API_TOKEN": TOKEN, **more}


def tell(store: Store, home: Path, crm: CrmReceiver, *, patience: str = "20") -> None:
    """One sync, of what ended in a retry too."""
    configured = load_settings(variables(home, crm, CRM_OUTAGE_PATIENCE=patience, CRM_MAX_RETRIES="1"))
    sync(store, configured, SyncScope(states=("retry",)), run_id=f"sync {sum(crm.ledger.attempts.values())}")


def at(store: Store, site: str, *times: str, user_id: str = "1001", per_site: bool = False) -> None:
    ingest(store, site, *on(MONDAY, *times, user_id=user_id))
    process(store, MONDAY, per_site=per_site)


def void(store: Store, site: str, user_id: str, *, is_void: bool = True) -> None:
    """The user's punches at a site are attributed to another user, or back."""
    moment = "now()" if is_void else "NULL"
    execute(store, f"UPDATE raw_punches SET voided_at = {moment} WHERE device = ? AND user_id = ?", [site, user_id])


def held(crm: CrmReceiver, user_id: str = "1001", site: str = "") -> tuple[str | None, str | None]:
    record = crm.ledger.latest(site)[user_id, MONDAY]
    into, out = (None if one is None else str(one)[11:16] for one in (record["clock_in"], record["clock_out"]))
    return into, out


def test_a_day_that_goes_at_one_site_stands_as_the_other_has_it(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    at(store, "A", "08:00", "17:00")
    tell(store, tmp_path, crm)
    at(store, "B", "18:00", "19:00")
    tell(store, tmp_path, crm)
    assert held(crm) == ("08:00", "19:00")
    void(store, "A", "1001")
    process(store, MONDAY)
    tell(store, tmp_path, crm)
    assert held(crm) == ("18:00", "19:00")
    assert crm.ledger.latest()["1001", MONDAY]["device_name"] == "B"
    void(store, "B", "1001")
    process(store, MONDAY)
    tell(store, tmp_path, crm)
    assert held(crm) == (None, None)
    assert crm.ledger.revisions("1001", MONDAY) == [1, 2, 3, 4]
    assert crm.ledger.anomalies == []


def test_per_site_each_has_a_record_of_its_own(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    at(store, "A", "08:00", "17:00", per_site=True)
    at(store, "B", "18:00", "19:00", per_site=True)
    tell(store, tmp_path, crm)
    void(store, "A", "1001")
    process(store, MONDAY, per_site=True)
    tell(store, tmp_path, crm)
    assert (held(crm, site="A"), held(crm, site="B")) == ((None, None), ("18:00", "19:00"))
    assert (crm.ledger.latest(), crm.ledger.anomalies) == ({}, [])


def test_a_merged_record_that_was_applied_without_an_answer_goes_first_and_the_newer_one_follows(
    store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    at(store, "A", "08:00", "17:00")
    at(store, "B", "18:00", "19:00")
    crm.fault_rule = whenever(lambda _: True, Fault(drop="after"))
    tell(store, tmp_path, crm, patience="0")
    void(store, "B", "1001")
    process(store, MONDAY)
    crm.fault_rule = no_fault
    tell(store, tmp_path, crm)
    assert held(crm) == ("08:00", "17:00")
    assert crm.ledger.revisions("1001", MONDAY) == [2, 3]
    assert crm.ledger.anomalies == []


@pytest.mark.closed_stores
def test_a_kill_between_two_records_of_a_person_loses_neither(store: Store, crm: CrmReceiver, tmp_path: Path) -> None:
    at(store, "A", "08:00", "17:00")
    crm.fault_rule = whenever(lambda _: True, Fault(delay_after=2.0))
    child = start_sync(store, variables(tmp_path, crm))
    until(lambda: crm.posts > 0)
    at(store, "B", "18:00", "19:00")
    assert child.kill()
    crm.fault_rule = no_fault
    until(lambda: _is_all_told(store, tmp_path, crm))
    assert held(crm) == ("08:00", "19:00")
    assert crm.ledger.revisions("1001", MONDAY) == [1, 2]
    assert crm.ledger.anomalies == []


def _is_all_told(store: Store, home: Path, crm: CrmReceiver) -> bool:
    """After one more sync: the request of the killed run may still be in progress at the CRM."""
    tell(store, home, crm)
    return store.deliveries.states().keys() <= {"delivered", "superseded"}


MINUTES = st.integers(min_value=6 * 60, max_value=23 * 60).map(lambda at: f"{at // 60:02}:{at % 60:02}")
CHANGES = st.one_of(
    st.tuples(st.just("punch"), st.sampled_from(SITES), st.sampled_from(PEOPLE), MINUTES),
    st.tuples(st.sampled_from(("void", "restore")), st.sampled_from(SITES), st.sampled_from(PEOPLE), st.just("")),
    st.tuples(st.sampled_from(("sync", "process")), st.just(""), st.just(""), st.just("")),
)


@dataclass
class Reference:
    """The punches that count, and what a CRM must say of them, by the plainest reading of the rules."""

    punches: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # by person and site
    void: set[tuple[str, str]] = field(default_factory=set)

    def standing(self, user_id: str, site: str) -> set[str]:
        return set() if (user_id, site) in self.void else self.punches.get((user_id, site), set())

    def record(self, user_id: str, sites: tuple[str, ...]) -> dict[str, object]:
        by_time = sorted((at, site) for site in sites for at in self.standing(user_id, site))
        if not by_time:
            return {"clock_in": None, "clock_out": None}
        (first, site), (last, _) = by_time[0], by_time[-1]
        is_usual = "07:00" <= first <= "11:00" and "16:00" <= last <= "21:00" and first != last
        return {
            "clock_in": f"{MONDAY}T{first}:00+00:00",
            "clock_out": f"{MONDAY}T{last}:00+00:00" if first != last else None,
            "is_outlier": not is_usual,
            "device_name": site,
            "device_ip": f"192.0.2.{SITES.index(site)}",
        }


@pytest.mark.parametrize(("examples", "most"), [(2, 9), pytest.param(30, 14, marks=pytest.mark.matrix)])
def test_whatever_changes_where_the_crm_ends_with_the_merged_days(three_sites: Where, examples: int, most: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(changes=st.lists(CHANGES, min_size=most // 2 + 1, max_size=most), seed=st.integers(0, 99))
    def hold(changes: list[tuple[str, str, str, str]], seed: int) -> None:
        _check_changes(three_sites, changes, seed)

    hold()


def _check_changes(three_sites: Where, changes: list[tuple[str, str, str, str]], seed: int) -> None:
    reference = Reference()
    with tempfile.TemporaryDirectory() as folder, CrmReceiver(token=TOKEN) as crm:
        home, store = Path(folder), copied(three_sites, Path(folder))
        crm.fault_rule = any_of(sometimes(0.2, Fault(drop="after"), seed=seed), sometimes(0.1, refusal(503), seed=seed))
        for what, site, user, moment in [*changes, ("process", "", "", "")]:
            if what == "punch":
                reference.punches.setdefault((user, site), set()).add(moment)
                ingest(store, site, *on(MONDAY, moment, user_id=user))
                void(store, site, user, is_void=(user, site) in reference.void)
            elif what in ("void", "restore"):
                getattr(reference.void, "add" if what == "void" else "discard")((user, site))
                void(store, site, user, is_void=what == "void")
            elif what == "process":
                process(store, MONDAY)
            else:
                tell(store, home, crm, patience="0")
        crm.fault_rule = no_fault
        assert _is_all_told(store, home, crm) or _is_all_told(store, home, crm)
        of = [(user, "", SITES) for user in PEOPLE if user != NAMESAKE] + [(NAMESAKE, site, (site,)) for site in SITES]
        for user, site, sites in of:
            wanted = reference.record(user, sites)
            found = crm.ledger.latest(site).get((user, MONDAY), {"clock_in": None, "clock_out": None})
            assert {name: found[name] for name in wanted} == wanted
            revisions = crm.ledger.revisions(user, MONDAY, site)
            assert revisions == sorted(set(revisions))
        assert crm.ledger.anomalies == []
