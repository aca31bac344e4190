"""Completion of device names in bash, zsh and fish, by the scripts that the documentation names."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zk_pipeline.devices.models import Device
from zk_pipeline.store.store import Store

NAMES = ("Main gate", "Main yard", 'Quay "1" & co')
BASH = """
eval "$(_ZK_PIPELINE_COMPLETE=bash_source zk-pipeline)"
complete -p zk-pipeline > /dev/null || exit 1
for word in "$@"; do
    COMP_WORDS=(zk-pipeline device show "$word")
    COMP_CWORD=3
    _zk_pipeline_completion zk-pipeline
    printf '%s|' "${COMPREPLY[@]}"
    echo
done
"""
# An interactive shell in a terminal of its own: types each word and a tab, and writes the line that results.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; autoload -Uz compinit && compinit -u -D; eval "$(_ZK_PIPELINE_COMPLETE=zsh_source zk-pipeline)"'
zpty -w shell 'typed() { print -r -- $BUFFER >> $TYPED; BUFFER=; }; zle -N typed; bindkey "^X^X" typed'
for word in "$@"; do
    zpty -w -n shell "zk-pipeline device show $word"$'\t\x18\x18'
done
zpty -w shell "print 'the'end"
zpty -r shell line '*theend*'
"""
FISH = """
_ZK_PIPELINE_COMPLETE=fish_source zk-pipeline | source
for word in $argv
    complete -C "zk-pipeline device show $word"
end
"""


@pytest.fixture
def named(home: Path, home_store: Store, tmp_path: Path) -> dict[str, str]:
    """The environment of a home with devices of these names, and of the command."""
    for name in NAMES:
        home_store.devices.add(Device(name=name, ip_address="192.0.2.1"))
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "ZK_PIPELINE_HOME": str(home), "HOME": str(tmp_path), "TERM": "dumb"}


def completed(environ: dict[str, str], *command: str) -> list[str]:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"no {command[0]} in PATH (apt install {command[0]})")
    done = subprocess.run([program, *command[1:]], env=environ, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_bash_completes_names_as_one_word(named: dict[str, str]) -> None:
    unquoted, quoted, whole = completed(named, "bash", "--norc", "-c", BASH, "bash", "Main", '"Main', "Q")
    assert unquoted == r"Main\ gate|Main\ yard|"
    assert quoted == "Main gate|Main yard|"
    assert shlex.split(whole.rstrip("|")) == [NAMES[2]]


def test_zsh_completes_names_as_one_word(named: dict[str, str], tmp_path: Path) -> None:
    completed(named | {"TYPED": str(tmp_path / "typed")}, "zsh", "-f", "-c", ZSH, "zsh", "Main\\ g", '"Main y', "Q")
    typed = [shlex.split(line)[3:] for line in (tmp_path / "typed").read_text().splitlines()]
    assert typed == [[NAMES[0]], [NAMES[1]], [NAMES[2]]]


def test_fish_completes_names(named: dict[str, str]) -> None:
    assert completed(named, "fish", "--no-config", "-c", FISH, "Main", "Q") == [*NAMES]
