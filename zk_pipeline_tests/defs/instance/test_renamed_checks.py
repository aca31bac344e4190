"""A failed evaluation under a check's former name counts until the check is evaluated under its new one."""

from __future__ import annotations

import dagster as dg
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.instance_health import FORMER_CHECK_NAMES, failed_checks
from zk_pipeline_tests.store.schema.former_names import ALERT_KEYS

KEY = dg.AssetCheckKey(dg.AssetKey("daily_attendance"), "attendance_rows_consistent")


def report(instance: dg.DagsterInstance, name: str, *, passed: bool) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=KEY.asset_key, check_name=name, passed=passed, description=f"as {name}")
    )


def test_the_former_name_counts_until_the_new_one_is_evaluated() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert failed_checks(instance, [KEY]) == []
        report(instance, "days_are_sound", passed=False)
        (failed,) = failed_checks(instance, [KEY])
        assert (failed.name, failed.message) == (KEY.name, "as days_are_sound")
        report(instance, KEY.name, passed=True)
        assert failed_checks(instance, [KEY]) == []
        report(instance, KEY.name, passed=False)
        (failed,) = failed_checks(instance, [KEY])
        assert failed.message == f"as {KEY.name}"


@pytest.mark.usefixtures("launcher")
def test_every_renamed_check_is_one_of_the_assets_and_its_alert_is_renamed_alike() -> None:
    known = {f"check:{key.asset_key.to_user_string()}:{key.name}" for key in _check_keys()}
    assert set(ALERT_KEYS.values()) <= known
    assert {new.rpartition(":")[2]: old.rpartition(":")[2] for old, new in ALERT_KEYS.items()} == FORMER_CHECK_NAMES


def _check_keys() -> set[dg.AssetCheckKey]:
    return set(build_definitions(load_settings()).resolve_asset_graph().asset_check_keys)
