"""Cells run on targets: what comes back is what comes out here, and what goes wrong costs one cell and is told."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from made_up_graphs import layers, lstm
from made_up_targets import COUNT, X, artifact, four, here, local, planted, runner
from quantbench.targets import link as links
from quantbench.targets import worker
from quantbench.targets.failures import TargetFailed, start_failed
from quantbench.targets.link import Link
from quantbench.targets.runner import Told
from quantbench.targets.session import Session
from quantbench.tflite.litert import quantize


def test_a_target_answers_as_this_machine_does_and_again_from_the_store(tmp_path: Path) -> None:
    one, told = artifact(tmp_path), Told()
    with_float = artifact(tmp_path, layers(factor=1.1))
    run = runner(local(tmp_path), tmp_path)
    taken = run.answers(four(), one, told)
    assert np.array_equal(taken.predictions, here(one))
    assert (taken.nonfinite, taken.cached, told.retried) == (0, False, [])
    assert taken.memory is not None
    assert 0 < taken.memory[0] - taken.memory[1] < 2**24
    timed = run.times(four(), one, with_float, told)
    assert len(timed.processes) == 6
    assert all(0.2 < ratio < 5 for ratio in timed.ratios())
    data = 4 * X.size
    assert run.sent == data + one.path.stat().st_size + with_float.path.stat().st_size  # each travels once
    again = runner(local(tmp_path), tmp_path)
    assert again.answers(four(), one, told).cached
    assert np.array_equal(again.answers(four(), with_float, told).predictions, here(with_float))
    assert again.sent == 0
    for each in (run, again):
        each.close()


def test_a_target_may_answer_the_first_examples_alone(tmp_path: Path) -> None:
    run = runner(local(tmp_path, examples=700), tmp_path)
    taken = run.answers(four(), artifact(tmp_path), Told())
    run.close()
    assert np.array_equal(taken.predictions, here(artifact(tmp_path))[:700])


def test_answers_end_when_their_time_is_over(tmp_path: Path) -> None:
    slow = planted(
        "        self.interpreter.invoke()\n        return",
        "        time.sleep(.01)\n        self.interpreter.invoke()\n        return",
        tmp_path,
        seconds=0.2,
    )
    run = runner(slow, tmp_path)
    taken = run.answers(four(), artifact(tmp_path), Told())
    run.close()
    n = len(taken.predictions)
    assert 0 < n < 200
    assert np.array_equal(taken.predictions, here(artifact(tmp_path))[:n])


def test_state_is_reset_before_each_example(tmp_path: Path) -> None:
    class Steps(type(four())):  # type: ignore[misc]
        def pack(self) -> Any:
            pack = super().pack()
            steps = np.repeat(X[:, None], 5, axis=1)[:200]
            return type(pack)(None, None, type(pack.test)(steps, pack.test.y[:200]), "d")

    one = artifact(tmp_path, lstm(outputs=4))
    steps = Steps(**(vars(four()) | {"stateful": True}))
    run = runner(local(tmp_path), tmp_path)
    taken = run.answers(steps, one, Told())
    run.close()
    from quantbench.measure import accuracy

    outputs = accuracy.answers(one.path, True, steps.pack().test.x, 1)
    assert np.array_equal(taken.predictions, steps.metric.predict(outputs, steps.pack().test.x))


PASSES_ON = "                send(out, frame)"
WRONG = {
    "one row less": ('"stop": sent,', '"stop": sent - 1,', "ended after row 3,000, which it does not agree with"),
    "a flipped bit": (PASSES_ON, "                send(out, frame[:-1] + bytes([frame[-1] ^ 1]))", "checksum"),
    "no frame": (PASSES_ON, "                send(out, b'hello' + frame)", "is no frame"),
    "a frame without end": (
        "FRAME.pack(MAGIC, len(text), len(body)",
        "FRAME.pack(MAGIC, len(text), 2**60",
        "nothing came",
    ),
    "an error of its own": (
        '    emit({"kind": "loaded"',
        '    raise Wrong("\\x1b[2J", "<b>\\x1b[2J")\n    emit({"kind": "loaded"',
        "no worker has",
    ),
}


@pytest.mark.parametrize("plant", WRONG)
def test_what_a_garbled_or_hostile_worker_says_is_an_error_in_words(
    plant: str, tmp_path: Path, monkeypatch: Any
) -> None:
    old, new, words = WRONG[plant]
    monkeypatch.setattr(links, "START_SECONDS", 2.0)
    monkeypatch.setattr("quantbench.targets.runner.WORTH_ANOTHER_TRY", frozenset())
    run = runner(planted(old, new, tmp_path), tmp_path)
    with pytest.raises(TargetFailed, match=words) as failed:
        run.answers(four(), artifact(tmp_path), Told())
    run.close()
    assert "\x1b" not in str(failed.value)


def test_answers_that_were_garbled_count_for_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    """All rows came, and the target does not agree with them: the next try begins with the first one."""
    monkeypatch.setattr("quantbench.targets.runner._RESTING", 0.0)
    run, told = runner(planted(*WRONG["one row less"][:2], tmp_path), tmp_path), Told()
    with pytest.raises(TargetFailed, match="does not agree with"):
        run.answers(four(), artifact(tmp_path), told)
    run.close()
    assert len(told.retried) == 1


def test_a_crash_costs_one_try_and_is_told(tmp_path: Path) -> None:
    """The process of the first request dies after some rows; the second goes on where it ended."""
    died = tmp_path / "died"
    plant = (
        f"        if sent > 900 and not os.path.exists({str(died)!r}):\n"
        f"            open({str(died)!r}, 'w').close()\n            os.kill(os.getpid(), 11)\n"
    )
    target = planted("        arrays = [np.stack(each)", plant + "        arrays = [np.stack(each)", tmp_path)
    run, told, one = runner(target, tmp_path), Told(), artifact(tmp_path)
    taken = run.answers(four(), one, told)
    run.close()
    assert np.array_equal(taken.predictions, here(one))
    assert told.retried == ["answers: the process that ran it there died (signal 11); tried again"]


def test_what_always_crashes_costs_its_cell_and_no_other(tmp_path: Path) -> None:
    one, other = artifact(tmp_path), artifact(tmp_path, layers(2))
    plant = f"    if {one.sha256!r} in request['artifact']:\n        os.kill(os.getpid(), 9)\n"
    target = planted("    model = Model(files.path(request", plant + "    model = Model(files.path(request", tmp_path)
    run, told = runner(target, tmp_path), Told()
    with pytest.raises(TargetFailed, match=r"died \(signal 9\)"):
        run.answers(four(), one, told)
    assert len(told.retried) == 1
    assert np.array_equal(run.answers(four(), other, Told()).predictions, here(other))
    run.close()


def test_an_artifact_that_litert_refuses_is_told_and_not_tried_again(tmp_path: Path) -> None:
    run, told = runner(local(tmp_path), tmp_path), Told()
    with pytest.raises(TargetFailed) as failed:
        run.answers(four(), artifact(tmp_path, layers()[:200]), told)
    run.close()
    assert failed.value.code in ("refused", "died")


def test_a_target_without_room_says_so(tmp_path: Path) -> None:
    run, told = runner(planted("SPARE_BYTES = 2**26", "SPARE_BYTES = 2**60", tmp_path), tmp_path), Told()
    with pytest.raises(
        TargetFailed, match=f"no room in {tmp_path}/there there: .* are needed and .* are free"
    ) as failed:
        run.answers(four(), artifact(tmp_path), told)
    run.close()
    assert (failed.value.code, told.retried, run.failure) == ("no-room", [], None)


def test_room_is_made_by_removing_files_of_earlier_sessions_alone(tmp_path: Path) -> None:
    ours, cut, fresh = ("a" * 64, f"{'b' * 64}.part", f"{'c' * 64}.part")
    for name in (ours, cut, fresh, "thesis.odt", "photo.part"):
        (tmp_path / name).write_bytes(b"x")
    long_ago = time.time() - 2 * worker.PART_SECONDS
    for name in (ours, cut, "thesis.odt", "photo.part"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    with pytest.raises(worker.Wrong):
        worker.Files(str(tmp_path)).put("d" * 64, 2**60, 0, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh, "photo.part", "thesis.odt"]


def test_a_file_that_another_session_removes_meanwhile_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker.os, "listdir", lambda _: ["e" * 64])
    monkeypatch.setattr(worker, "SPARE_BYTES", 0)
    assert worker.Files(str(tmp_path)).put("d" * 64, 2, 0, b"x") == 1


def test_a_file_that_arrives_damaged_is_not_kept(tmp_path: Path) -> None:
    run = runner(planted("file.write(body)", "file.write(b'x' + body[1:])", tmp_path), tmp_path)
    with pytest.raises(TargetFailed, match="other contents than were sent"):
        run.answers(four(), artifact(tmp_path), Told())
    run.close()
    assert [path.name for path in (tmp_path / "there").iterdir() if not path.name.endswith(".part")] == []


def test_a_file_that_was_damaged_there_is_sent_again(tmp_path: Path) -> None:
    one = artifact(tmp_path)
    for _ in range(2):
        run = runner(local(tmp_path), tmp_path)
        run.connect().bring([one.file()])
        run.close()
        kept = tmp_path / "there" / one.sha256
        assert kept.read_bytes() == one.path.read_bytes()
        kept.write_bytes(b"x")
    assert run.sent == 0  # what `bring` returns is counted by its caller alone


def test_a_wrong_clock_is_told_and_costs_times_alone(tmp_path: Path) -> None:
    stopped = planted('"time": time.time()', '"time": time.time() + 86400', tmp_path)
    run = runner(stopped, tmp_path)
    assert np.array_equal(run.answers(four(), artifact(tmp_path), Told()).predictions, here(artifact(tmp_path)))
    run.close()
    assert run.notes == ["its clock is 24 h ahead of this machine's; nothing here depends on it"]
    backwards = runner(
        planted("    end = time.perf_counter()\n    return", "    end = start - 1\n    return", tmp_path), tmp_path
    )
    with pytest.raises(TargetFailed, match="its clock stood still or went back") as failed:
        backwards.times(four(), artifact(tmp_path), artifact(tmp_path), Told())
    backwards.close()
    assert failed.value.code == "clock"


def test_versions_must_be_those_of_this_machine_unless_any_will_do(tmp_path: Path) -> None:
    old = ("litert=metadata.version(each)", "litert='1.0.1'")
    strict = runner(planted(*old, tmp_path), tmp_path)
    with pytest.raises(TargetFailed, match=r"1\.0\.1 there and .* pip install ai-edge-litert==.* versions = .any"):
        strict.connect()
    with pytest.raises(TargetFailed, match=r"1\.0\.1 there"):  # known by now: nothing is started again
        strict.answers(four(), artifact(tmp_path), Told())
    lax = runner(planted(*old, tmp_path, versions="any"), tmp_path)
    assert lax.connect().machine.results_class.endswith("_ai-edge-litert-1.0.1")
    lax.close()


def test_what_is_missing_there_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    run = runner(planted("        import numpy\n", "        import numpy_of_nobody\n", tmp_path), tmp_path)
    with pytest.raises(TargetFailed, match=r"numpy_of_nobody.*run .* -m pip install numpy ai-edge-litert there"):
        run.connect()


def test_without_litert_it_is_litert_that_is_missing(tmp_path: Path) -> None:
    first = "        from ai_edge_litert import interpreter\n"
    missing = planted(
        first, "        raise ModuleNotFoundError('No module named x', name='ai_edge_litert')\n", tmp_path
    )
    with pytest.raises(TargetFailed, match=r"No module named x there .*; run .* -m pip install numpy ai-edge-litert"):
        runner(missing, tmp_path).connect()
    broken = planted(first, "        raise OSError('libGL.so.1: cannot open')\n", tmp_path)
    with pytest.raises(TargetFailed, match=r"NumPy or LiteRT cannot be loaded there \(Python .*\): libGL.so.1: cannot"):
        runner(broken, tmp_path).connect()


def test_what_ends_before_the_worker_begins_is_one_sentence(tmp_path: Path) -> None:
    cases = {
        "AttributeError: 'file' object has no attribute 'buffer'": "is older than Python 3.9",
        "a Python before 3.9": "is older than Python 3.9",
        "OSError: no": "its command ended with status 1 before the worker began: OSError: no",
    }
    for said, words in cases.items():
        assert words in str(start_failed(local(tmp_path), 1, said))
    for status in (-signal.SIGILL, 128 + signal.SIGILL):
        failed = start_failed(local(tmp_path), status, "")
        assert "ended by signal 4 before the worker began; NumPy or LiteRT there may be built for" in str(failed)
    assert "a Python before 3.9" in links.SOURCE.read_text(encoding="utf-8")


def test_a_silent_target_is_given_up(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(links, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(links, "_ENDING_SECONDS", 0.1)
    monkeypatch.setattr("quantbench.targets.runner._RESTING", 0.0)
    run = runner(planted("                send(out, frame)", "                time.sleep(60)", tmp_path), tmp_path)
    with pytest.raises(TargetFailed, match="nothing came from it"):
        run.answers(four(), artifact(tmp_path), Told())
    run.close()


def test_a_worker_ends_with_its_input_and_takes_its_job_along(tmp_path: Path) -> None:
    target = planted("    arrays = [np.stack(each)", "    time.sleep(60)\n        arrays = [np.stack(each)", tmp_path)
    with Link(target) as link:
        session = Session(link)
        one, model = artifact(tmp_path), four()
        from quantbench.targets.examples import Examples

        examples = Examples(model)
        session.bring([one.file(), *examples.files()])
        answers = session.answers(one.sha256, examples.inputs, 0, COUNT, 60, 60)
        link.send({"kind": "answers", "artifact": one.sha256, "inputs": {}, "start": 0, "stop": 0})
        process = psutil.Process(link.pid)
        del answers
    end = time.monotonic() + 10
    while psutil.pid_exists(process.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not psutil.pid_exists(process.pid)


def test_a_command_that_is_killed_is_a_lost_connection(tmp_path: Path) -> None:
    with Link(local(tmp_path)) as link:
        os.kill(link.pid, signal.SIGKILL)
        with pytest.raises(TargetFailed, match=r"the connection was lost: its command was ended by signal 9"):
            Session(link).bring([artifact(tmp_path).file()])


def test_integers_are_quantized_there_as_here() -> None:
    values = np.random.default_rng(1).normal(size=10_000).astype(np.float32) * 10
    for dtype in (np.int8, np.uint8, np.int16):
        there, own = (one(values, dtype, 0.05, 3) for one in (worker.quantize, quantize))
        assert there.dtype == own.dtype
        assert np.array_equal(there, own)


def test_the_worker_is_python_of_3_9() -> None:
    import ast

    ast.parse(links.SOURCE.read_text(encoding="utf-8"), feature_version=(3, 9))
    assert "quantbench." not in "".join(
        line
        for line in links.SOURCE.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith(("import", "from"))
    )
