"""A target behind a real sshd on the loopback address, with the connection cut at several moments."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_graphs import layers
from made_up_targets import COUNT, artifact, four, here, runner
from quantbench.core.targets import Target, parsed
from quantbench.targets import session as sessions
from quantbench.targets.answers import Collected
from quantbench.targets.checkup import lines
from quantbench.targets.failures import TargetFailed
from quantbench.targets.link import SSH, Link, command
from quantbench.targets.runner import Told
from studies import _sshd as sshd

pytestmark = pytest.mark.skipif(not sshd.sshd(), reason=sshd.MISSING)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with sshd.running(tmp_path_factory.mktemp("sshd") / "server") as running:
        yield running


@pytest.fixture
def target(server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setenv(SSH, server.command)
    monkeypatch.setattr("quantbench.targets.runner._RESTING", 0.0)
    server.know()
    return replace(parsed("pi", server.address + sys.executable, "f"), folder=str(tmp_path / "there"))


def test_answers_over_ssh_are_those_of_this_machine_and_data_travels_once(target: Target, tmp_path: Path) -> None:
    one, other, told = artifact(tmp_path), artifact(tmp_path, layers(2)), Told()
    run = runner(target, tmp_path)
    assert np.array_equal(run.answers(four(), one, told).predictions, here(one))
    run.close()
    sent = run.sent
    again = runner(target, tmp_path)
    assert np.array_equal(again.answers(four(), other, told).predictions, here(other))
    again.close()
    assert again.sent == other.path.stat().st_size < sent
    assert told.retried == []


def cut_in(moment: str, server: sshd.Server, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Cut the connection once: after so many rows, or in the middle of a file."""
    done: list[int] = []

    def cut(at: int) -> None:
        if not done:
            done.append(at)
            assert server.cut() >= 1

    if moment == "file":
        monkeypatch.setattr(sessions, "PIECE_BYTES", 4096)
        put = Link.send

        def send(link: Link, head: dict[str, Any], body: bytes = b"") -> None:
            put(link, head, body)
            if head["kind"] == "put" and head["offset"] >= 16_384:
                cut(head["offset"])

        monkeypatch.setattr(Link, "send", send)
        return done
    add = Collected.add

    def cutting(collected: Collected, ports: Any, rows: Any) -> None:
        add(collected, ports, rows)
        if collected.count >= int(moment):
            cut(collected.count)

    monkeypatch.setattr(Collected, "add", cutting)
    return done


@pytest.mark.parametrize("moment", ["file", "1", "1500", str(COUNT)])
def test_a_cut_connection_costs_what_was_under_way_alone(
    moment: str, server: sshd.Server, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, told, one = cut_in(moment, server, monkeypatch), Told(), artifact(tmp_path)
    asked: list[int] = []
    answers = sessions.Session.answers

    def noted(session: Any, artifact: str, inputs: Any, start: int, *more: Any) -> Any:
        asked.append(start)
        return answers(session, artifact, inputs, start, *more)

    monkeypatch.setattr(sessions.Session, "answers", noted)
    run = runner(target, tmp_path)
    taken = run.answers(four(), one, told)
    run.close()
    assert done
    assert np.array_equal(taken.predictions, here(one))
    assert len(told.retried) == 1
    assert "the connection was lost: its command ended with status 255" in told.retried[0]
    if moment == "1500":
        assert asked[0] == 0
        assert all(start >= 1500 for start in asked[1:])  # not from the beginning again; none if all had come by then
    if moment == "file":
        assert run.sent < 4 * 4 * COUNT + one.path.stat().st_size + 8192  # went on where it stopped


def test_what_is_wrong_with_a_host_is_one_sentence(server: sshd.Server, target: Target, tmp_path: Path) -> None:
    def failing(of: Target) -> str:
        with pytest.raises(TargetFailed) as failed:
            runner(of, tmp_path).connect()
        assert "\n" not in str(failed.value)
        return f"{failed.value.code}: {failed.value}"

    at = rf"[127.0.0.1]:{server.port}"
    assert failing(replace(target, python="/no/python")).startswith("no-python: /no/python cannot be run there (")
    assert "older than Python 3.9" in failing(replace(target, python="echo SyntaxError >&2; false"))
    killed = failing(replace(target, python="sh -c 'kill -4 $$';"))
    assert "there was ended by a signal, or with status 255, before the worker began" in killed
    server.known_hosts.write_text("")
    assert failing(target) == f"host-key: the host key of {at} is not known; log in once by hand to check it"
    if not (server.folder / "other").exists():
        server.make_key("other")
    server.know("other")
    changed = failing(target)
    assert changed.startswith(f"host-key: the host key of {at} is another than the known one")
    assert f"ssh-keygen -R '{at}'" in changed
    server.know()
    assert "unreachable: ssh cannot reach [127.0.0.1]:1 (" in failing(replace(target, port=1))
    keys = (server.folder / "authorized_keys").read_text()
    (server.folder / "authorized_keys").write_text("")
    try:
        assert failing(target).startswith(f"login: ssh could not log in to {at} without a password (")
        assert lines({"pi": target}, ask=True)[0].startswith(f"pi: no, {target.address}: ssh could not log in")
    finally:
        (server.folder / "authorized_keys").write_text(keys)


def test_doctor_says_what_a_target_is(target: Target) -> None:
    found = lines({"pi": target}, ask=True)
    assert found[0].startswith(f"pi: yes, {target.address}: ")
    assert f"ai-edge-litert {runner_version()}" in found[0]
    assert f"  keeps files in {target.folder}, where " in found[1]
    assert lines({"pi": target}, ask=False) == [f"pi: {target.address} (not asked, because of --quick)"]


def runner_version() -> str:
    from quantbench.core.environment import package_version

    return package_version("ai-edge-litert")


def test_ssh_gets_no_password_and_host_keys_are_left_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SSH, raising=False)
    words = command(parsed("pi", "ssh://pi@board.local:2222/opt/venv/bin/python", "f"))
    assert words[:2] == ["ssh", "-T"]
    assert words[-2:-1] == ["board.local"]
    assert words[words.index("--") + 1] == "board.local"
    assert words[words.index("-p") + 1 : words.index("-p") + 4] == ["2222", "-l", "pi"]
    assert words[-1].startswith("exec /opt/venv/bin/python -c ")
    assert "BatchMode=yes" in words
    assert not any("StrictHostKeyChecking" in word or "UserKnownHosts" in word for word in words)
