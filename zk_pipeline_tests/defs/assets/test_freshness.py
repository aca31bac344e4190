"""Freshness policies, as Dagster's daemon evaluates them over a weekend and an outage."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState, TimeWindowFreshnessPolicy
from dagster._core.test_utils import freeze_time
from dagster._daemon.freshness import FreshnessDaemon

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline_tests.defs.daemon_fixtures import Daemons, open_daemons
from zk_pipeline_tests.gates import MONDAY

ASSETS = {"devices": None, "raw_punches": "Gate", "daily_attendance": str(MONDAY), "crm_sync": str(MONDAY)}
PASS, FAIL = FreshnessState.PASS, FreshnessState.FAIL


def states(daemons: Daemons) -> dict[str, FreshnessState]:
    for error in FreshnessDaemon().run_iteration(daemons.context):
        assert error is None, error
    found = daemons.instance.get_freshness_state_records([dg.AssetKey(name) for name in ASSETS])
    return {key.to_user_string(): record.freshness_state for key, record in found.items()}


def test_a_weekend_without_punches_is_no_fault_and_an_hour_without_a_poll_is(home: Path) -> None:
    friday = datetime.now().astimezone()
    with open_daemons(home) as daemons:
        assert states(daemons) == dict.fromkeys(ASSETS, FreshnessState.UNKNOWN)
        for name, partition in ASSETS.items():
            daemons.instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=partition))
        assert states(daemons) == dict.fromkeys(ASSETS, PASS)
        with freeze_time(friday + timedelta(minutes=44)):
            assert states(daemons) == dict.fromkeys(ASSETS, PASS)
        with freeze_time(friday + timedelta(days=4)):
            assert states(daemons) == dict.fromkeys(ASSETS, PASS) | {"devices": FAIL, "raw_punches": FAIL}
        with freeze_time(friday + timedelta(days=32)):
            assert states(daemons) == dict.fromkeys(ASSETS, FAIL)


def test_the_windows_follow_the_polling_interval_and_end_with_the_automation(home: Path) -> None:
    settings = load_settings({"ZK_PIPELINE_HOME": str(home), "POLLING_INTERVAL_MINUTES": "60"})

    def windows(definitions: dg.Definitions) -> dict[str, timedelta]:
        graph = definitions.resolve_asset_graph()
        found = {key.to_user_string(): graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
        return {
            name: policy.fail_window.to_timedelta()
            for name, policy in found.items()
            if isinstance(policy, TimeWindowFreshnessPolicy)
        }

    rare = {"daily_attendance": timedelta(days=31), "crm_sync": timedelta(days=31)}
    of_polls = {"devices": timedelta(hours=3), "raw_punches": timedelta(hours=3)}
    assert windows(build_definitions(settings)) == rare | of_polls
    assert windows(build_definitions(settings, schedule_crons={"poll_devices": "0 6 * * *"})) == rare
    assert windows(build_definitions(settings, automation=False)) == {}
