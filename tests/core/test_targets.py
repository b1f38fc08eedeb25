"""Targets are read from a config or an option; what is no address is told in one sentence."""

from pathlib import Path

import pytest
from quantbench.core import config
from quantbench.core.targets import of_option, parsed
from quantbench.errors import BadInput


def test_an_address_names_user_host_port_and_python() -> None:
    one = parsed("pi", "ssh://Pi@Board.local:2222/opt/venv/bin/python", "f")
    assert (one.scheme, one.user, one.host, one.port, one.python) == (
        "ssh", "Pi", "Board.local", 2222, "/opt/venv/bin/python",
    )  # fmt: skip
    assert (parsed("pi", "ssh://board", "f").port, parsed("pi", "ssh://[::1]:22", "f").host) == (None, "::1")
    assert parsed("c", "command:docker run -i 'my image' python3", "f").words[-2:] == ("my image", "python3")
    emulated = parsed("q", {"address": "qemu-aarch64", "examples": 600}, "f")
    assert (emulated.emulated, emulated.times, emulated.examples) == (True, False, 600)


WRONG = {
    "": "is no address",
    "board": "is no address",
    "http://board": "is no address",
    "ssh://-oProxyCommand=x": "names no host",
    "ssh://-l@board": "names no host or user",
    "ssh://a:secret@board": "holds a password",
    "ssh://board:99999": "Port out of range",
    "ssh://board:0": "port 0",
    "ssh://board/opt/my python": "no path of a Python",
    "ssh://board/$(x)": "no path of a Python",
    "ssh://board?x=1": "names no host",
    "ssh://": "names no host",
    "command:": "names no program",
    "command:'x": "cannot be split",
    "local\n": "",
    "ssh://bo\nard": "one line",
}


@pytest.mark.parametrize("address", WRONG)
def test_what_is_no_address_is_one_sentence(address: str) -> None:
    if not WRONG[address]:
        assert parsed("t", address, "f").scheme == "local"
        return
    with pytest.raises(BadInput, match=WRONG[address]) as refused:
        parsed("t", address, "f")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_wrong_keys_and_values_of_a_table_are_named() -> None:
    for table, words in (
        ({"addres": "local"}, r"f.addres: unknown key; known: address, python"),
        ({"address": "local", "examples": -1}, r"f.examples: expected a whole number, 0 for all, found -1"),
        ({"address": "local", "seconds": 0}, "f.seconds: expected a number above 0"),
        ({"address": "local", "versions": "newest"}, 'f.versions: expected "same" or "any"'),
        ({"address": "local", "folder": "there"}, "f.folder: expected an absolute path"),
        ({"address": "local", "python": "-x"}, "f.python: expected the path"),
        ({}, "f: expected an address"),
        (7, "f: expected an address"),
    ):
        with pytest.raises(BadInput, match=words):
            parsed("t", table, "f")
    with pytest.raises(BadInput, match="a target's name has letters"):
        parsed("my pi", "local", "f")


def test_an_option_takes_names_all_and_addresses() -> None:
    declared = {"pi": parsed("pi", "ssh://board", "f"), "here": parsed("here", "local", "f")}
    assert [one.name for one in of_option("all", declared)] == ["pi", "here"]
    assert [one.name for one in of_option("here, ssh://a@b:22,local", declared)] == ["here", "b-22", "local"]
    assert of_option("", declared) == []
    with pytest.raises(BadInput, match=r"--target: no target 'x'; expected a declared one \(pi, here\) or an address"):
        of_option("x", declared)


def test_a_config_declares_targets(tmp_path: Path) -> None:
    text = '[tool.quantbench]\ntarget = "pi"\n[tool.quantbench.targets]\npi = "ssh://board"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    found = config.resolve(tmp_path, {})
    options = found.options()
    assert options.target == "pi"
    assert [one.host for one in of_option(options.target, options.targets)] == ["board"]
    (tmp_path / "pyproject.toml").write_text('[tool.quantbench.targets]\npi = "board"\n')
    with pytest.raises(BadInput, match=r"pyproject.toml: tool.quantbench.targets.pi: 'board' is no address"):
        config.resolve(tmp_path, {})
