"""`who`: the muster list as text and as JSON."""

from __future__ import annotations

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.store.store_fixtures import execute, ingest, minutes_ago, noon_device


def test_who_lists_who_is_in_and_when_the_terminals_were_read(zk: CommandLine, home_store: Store) -> None:
    assert zk("who").out == "No terminal is registered; add one with `zk-pipeline device add NAME IP`.\n"
    gate = home_store.devices.add(noon_device("Gate", site="Plant"))
    home_store.devices.add(noon_device("Quay"))
    punches = [*minutes_ago(gate, 20, user_id="1"), *minutes_ago(gate, 20, 10, user_id="2")]
    ingest(home_store, "Gate", *punches, users=[("1", 1, "Zoë", 0, 0), ("2", 2, "Ali", 0, 0)])
    result = zk("who", "--site", "Plant")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[:2] == ["Plant: 1 employee in", "name  user_id  since                terminal"]
    assert lines[2] == f"Zoë   1        {punches[0][1]}  Gate"
    assert lines[3].startswith("Gate was last read 0 min ago, at ")
    assert lines[4:] == ["", "Total: 1 employee in"]
    assert "NOT SAFE: Quay was never read" in zk("who").out

    plain = zk("who", "--json").json
    assert (plain["present"], [(one["user_id"], one["name"], one["direction"]) for one in plain["people"]]) == (
        1,
        [("1", "Zoë", "in")],
    )
    assert [(one["site"], one["present"], one["left"], one["is_safe"]) for one in plain["sites"]] == [
        ("Plant", 1, 1, True),
        ("Quay", 0, 0, False),
    ]
    execute(home_store, "UPDATE devices SET last_sync = now() - INTERVAL 61 MINUTE")
    assert "NOT SAFE: Gate was last read 1 h 01 min ago" in zk("who", "--site", "Plant").out
    assert zk("who", "--site", "Nowhere").is_refusal()
