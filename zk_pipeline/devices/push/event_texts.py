"""Descriptions of the operation codes and access events that pushing terminals report.

Operations: OPLOG types of the Attendance PUSH protocol, appendix 3. Events: Security PUSH protocol 3.1.2, appendix 2.
"""

from __future__ import annotations

_OPERATIONS = {
    0: "power on",
    1: "power off",
    4: "menu opened",
    5: "setting changed",
    9: "user deleted",
    13: "data cleared",
    21: "clock set",
    22: "factory reset",
    23: "records deleted",
    30: "user enrolled",
    82: "server address changed",
    83: "server port changed",
}
_EVENTS = {
    8: "door opened remotely",
    9: "door closed remotely",
    23: "refused: no access",
    24: "refused: anti-passback",
    27: "refused: person is not registered",
    29: "refused: access has expired",
    202: "exit button",
    206: "terminal started",
}
_CLASSES = (
    (range(20, 100), "refused"),
    (range(100, 200), "alarm"),
    (range(5000, 6000), "error"),
    (range(6000, 7000), "warning"),
)


def event_text(code: int, *, is_operation: bool) -> str:
    """Description of a code of `device_events`; an unknown code is named by its class and number."""
    if is_operation:
        return _OPERATIONS.get(code, f"operation {code}")
    name = next((word for codes, word in _CLASSES if code in codes), "event")
    return _EVENTS.get(code, f"{name}, event {code}" if name != "event" else f"event {code}")
