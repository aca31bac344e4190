"""Asset checks of `raw_punches`, evaluated by the asset: a separate step would be skipped if a device fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from zk_pipeline.defs.metadata import cell
from zk_pipeline.store.queries.terminal_health import TerminalHealth

MAX_DRIFT_SECONDS = 60.0
MAX_FILL = 0.8

_COMPLETE = "every_record_accounted_for"
_CLOCK = "clock_drift_within_limit"
_FILL = "log_capacity_available"


def check_specs(key: dg.AssetKey) -> Sequence[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            _COMPLETE,
            asset=key,
            description="All records of each enabled terminal are stored or in quarantine. Remedy: read the warnings "
            "of its last poll, and poll it with --full.",
        ),
        dg.AssetCheckSpec(
            _CLOCK,
            asset=key,
            description=f"No clock drift of {MAX_DRIFT_SECONDS:.0f} s or more. Remedy: `zk-pipeline device set-clock`.",
        ),
        dg.AssetCheckSpec(
            _FILL,
            asset=key,
            description=f"No log is filled to {MAX_FILL:.0%} or more. Remedy: `zk-pipeline device clear-log`, which "
            "requires that all records are stored.",
        ),
    ]


def check_results(key: dg.AssetKey, health: Sequence[TerminalHealth]) -> Iterator[dg.AssetCheckResult]:
    """One result per check, with a line per failing terminal."""
    yield _result(key, _COMPLETE, health, _incomplete, dg.AssetCheckSeverity.ERROR)
    yield _result(key, _CLOCK, health, _clock_off, dg.AssetCheckSeverity.WARN)
    yield _result(key, _FILL, health, _full, dg.AssetCheckSeverity.WARN)


def _result(
    key: dg.AssetKey,
    name: str,
    health: Sequence[TerminalHealth],
    problem_of: Callable[[TerminalHealth], str | None],
    severity: dg.AssetCheckSeverity,
) -> dg.AssetCheckResult:
    problems = {one.device: problem for one in health if (problem := problem_of(one)) is not None}
    lines = [f"- **{cell(device)}**: {problem}" for device, problem in problems.items()]
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=not problems,
        severity=severity,
        metadata={
            "terminals": len(health),
            "failing": len(problems),
            "problems": dg.MetadataValue.md("\n".join(lines) or "*none*"),
        },
    )


def _incomplete(one: TerminalHealth) -> str | None:
    if one.read_at is None:
        return f"never polled successfully: {cell(one.error)}" if one.error else "never polled"
    if one.missing:
        return f"{one.missing} of {one.reported} records are not in the store"
    return f"no successful poll since {one.read_at:%Y-%m-%d %H:%M %Z}: {cell(one.error)}" if one.error else None


def _clock_off(one: TerminalHealth) -> str | None:
    drift = one.clock_drift_seconds
    if one.read_at is None or (drift is not None and abs(drift) < MAX_DRIFT_SECONDS):
        return None
    return "its clock shows no valid date" if drift is None else f"off by {drift:.0f} s"


def _full(one: TerminalHealth) -> str | None:
    return f"filled to {one.fill:.0%}" if one.fill is not None and one.fill >= MAX_FILL else None
