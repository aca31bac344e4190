"""Parts of pages that are computed without a server: kinds of the API reference, code in texts, axes of charts."""

from __future__ import annotations

from datetime import date, timedelta

from zk_pipeline.store.queries.device_history import DeviceDate
from zk_pipeline.web.api_reference import kind_of
from zk_pipeline.web.devices.device_charts import device_charts
from zk_pipeline.web.template_filters import with_code


def test_the_reference_names_a_flag_boolean_and_an_empty_text_as_null() -> None:
    flag = {"enum": ["true", "false", "True", "False", "1", "0", ""]}
    assert kind_of({"anyOf": [flag, {"type": "null"}]}) == "boolean or null"
    day = {"type": "string", "format": "date"}
    assert kind_of({"anyOf": [day, {"const": ""}, {"type": "null"}]}) == "string (date) or null"
    assert kind_of({"enum": ["in", "out"]}) == "&#39;in&#39; or &#39;out&#39;"


def test_parts_between_backticks_are_code_and_all_is_escaped() -> None:
    assert with_code("run `poll <x>` & wait") == "run <code>poll &lt;x&gt;</code> &amp; wait"


def test_the_axis_of_a_drift_below_a_second_has_decimals() -> None:
    days = [DeviceDate(date(2026, 3, 2) + timedelta(days=number), drift_seconds=0.3) for number in range(3)]
    (chart,) = device_charts(days, None)
    assert all(f">{label}<" in chart.content for label in ("0 s", "0.2 s", "0.4 s"))
