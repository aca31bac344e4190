"""Directions of punches, `in` or `out`, as SQL fragments; the view `punch_directions` has the same rules.

A punch at a terminal with a direction, an entry or exit gate, counts as in or out whatever state was recorded. Else the
punch state counts where the terminal's states are trusted; else the debounced punches of a day alternate, the first in.
"""

from __future__ import annotations

from zk_pipeline.attendance.rules import CLOSING_STATES, OPENING_STATES

# Of a `punch` (`assignment.valid_punches`) and its `device`, which may be missing. A manual punch has no poll, and its
# own state: its device is any terminal of the site.
DEVICE_DIRECTION = "CASE WHEN punch.first_poll_id IS NOT NULL THEN device.direction END"
STATE = f"(CASE {DEVICE_DIRECTION} WHEN 'in' THEN 0 WHEN 'out' THEN 1 ELSE punch.punch_state END)::UTINYINT"
IS_TRUSTED = "coalesce(device.direction IS NOT NULL OR device.trust_punch_states, false)"

# Of rows with the columns `device_direction`, `is_trusted`, `punch_state` and `number`, that of the debounced punch.
_STATED = f"""CASE WHEN NOT is_trusted THEN NULL WHEN punch_state IN {OPENING_STATES} THEN 'in'
    WHEN punch_state IN {CLOSING_STATES} THEN 'out' END"""
STATED_OR_ALTERNATING = f"coalesce({_STATED}, CASE WHEN number % 2 = 1 THEN 'in' ELSE 'out' END)"
DIRECTION = f"coalesce(device_direction, {STATED_OR_ALTERNATING})"
SOURCE = f"""CASE WHEN device_direction IS NOT NULL THEN 'device' WHEN {_STATED} IS NOT NULL THEN 'punch_state'
    ELSE 'alternation' END"""
