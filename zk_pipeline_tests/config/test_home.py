"""The home folder: found, filled once, never overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from zk_pipeline.config.home import TEMPLATES, export_home, find_home, prepare_home
from zk_pipeline.errors import UsageError

CHECKOUT = Path(__file__).parents[2]


def test_an_empty_or_missing_folder_is_filled_with_the_templates(tmp_path: Path) -> None:
    prepare_home(tmp_path / "new" / "home")
    assert {item.name for item in (tmp_path / "new" / "home").iterdir()} == set(TEMPLATES)
    for name in TEMPLATES:
        assert (tmp_path / "new" / "home" / name).read_bytes() == (CHECKOUT / name).read_bytes()


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("# mine\n")
    prepare_home(tmp_path)
    prepare_home(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == "# mine\n"
    assert (tmp_path / ".env.example").exists()


def test_a_home_that_cannot_be_written_is_refused_with_one_line_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/home")):
        with pytest.raises(UsageError, match=rf"^ZK_PIPELINE_HOME: cannot write to {home}: .+$"):
            prepare_home(home)


def test_without_the_variable_the_home_is_the_checkout() -> None:
    assert find_home({}) == CHECKOUT
    assert find_home({"ZK_PIPELINE_HOME": "  "}) == CHECKOUT


def test_the_variable_names_the_home_and_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_home({"ZK_PIPELINE_HOME": "here"}) == tmp_path / "here"
    assert find_home({"ZK_PIPELINE_HOME": "~/there"}) == Path.home() / "there"
    with pytest.raises(UsageError, match="ZK_PIPELINE_HOME"):
        find_home({"ZK_PIPELINE_HOME": "~no-user-of-this-name/there"})


def test_dagsters_home_follows_unless_it_was_chosen_and_telemetry_is_off(tmp_path: Path) -> None:
    follows: dict[str, str] = {"DAGSTER_HOME": ""}
    export_home(tmp_path, follows)
    assert follows.pop("DAGSTER_DISABLE_TELEMETRY") == "1"
    assert follows == {"ZK_PIPELINE_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
    chosen = {"DAGSTER_HOME": "/elsewhere"}
    export_home(tmp_path, chosen)
    assert chosen["DAGSTER_HOME"] == "/elsewhere"
