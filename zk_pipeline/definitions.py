"""The code location that Dagster loads. Nothing happens at import; settings are read when the definitions are asked
for.
"""

from __future__ import annotations

import dagster as dg

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(load_settings())
