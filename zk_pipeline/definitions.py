"""Dagster code location. Settings are read when Dagster resolves the definitions, not at import."""

from __future__ import annotations

from functools import lru_cache

import dagster as dg

from zk_pipeline.runtime.interpreter import slow_imports

with slow_imports():
    from zk_pipeline.config.settings import Settings, load_settings
    from zk_pipeline.defs.build import build_definitions
    from zk_pipeline.runtime.private_files import keep_files_private

keep_files_private()  # also in code servers and runs that Dagster's own commands start


@dg.configured(
    dg.colored_console_logger, config_schema={"log_level": dg.Field(str, is_required=False, default_value="WARNING")}
)
def run_console(config: dict[str, str]) -> dict[str, str]:
    """Console logger of runs: warnings and errors only, since the event log has every message."""
    return config


@dg.definitions
def defs() -> dg.Definitions:
    return _location(load_settings())


@lru_cache(maxsize=1)  # a forked run, whose settings are those of the code server unless they have changed
def _location(settings: Settings) -> dg.Definitions:
    # Defaults for runs of the Materialize button: a second process for a step doubles the CPU time.
    location = dg.Definitions(executor=dg.in_process_executor, loggers={"console": run_console})
    return dg.Definitions.merge(build_definitions(settings, is_in_process=True), location)
