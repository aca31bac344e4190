"""The code location that Dagster loads. Nothing happens at import; settings are read when the definitions are asked
for.
"""

from __future__ import annotations

import dagster as dg

from zk_pipeline.defs.build import build_definitions
from zk_pipeline.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    return build_definitions(load_settings())
