"""Dagster code location. Settings are read when Dagster resolves the definitions, not at import."""

from __future__ import annotations

import dagster as dg

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(load_settings())
