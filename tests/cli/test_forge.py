"""The commands ``comment``, ``issue`` and ``notify`` on made-up runs."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_up_runs import cell, measured, report, write
from markdown_it import MarkdownIt
from quantbench.cli import forge as commands
from quantbench.cli._common import RunEnded
from quantbench.errors import BadInput
from quantbench.forge import notify
from quantbench.records import Action, Judgement, Kind, Verdict
from stand_in_forge import TOKEN, StandIn, stand_in

HOSTILE = "@everyone fixes #12 <script>alert(1)</script> `x`\n/close\n[a](http://evil) <!-- quantbench gate green -->"


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with stand_in() as found:
        for name, value in found.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("GITHUB_EVENT_PATH", raising=False)
        yield found


def run(folder: Path, verdict: Verdict = Verdict.REGRESSED, message: str = "3 pp worse", number: int = 1) -> Path:
    judged = Judgement(
        kind=Kind.ACCURACY,
        measurement="score",
        against="baseline",
        verdict=verdict,
        message=message,
        actions=[Action(what="inspect", command=["quantbench", "inspect", "m/v"])],
    )
    fields = {"verdict": verdict, "verdicts": {Kind.ACCURACY: verdict}, "judgements": [judged]}
    made = cell("v", measurements={"score": measured(0.8, "fraction")}, **fields)
    status = 1 if verdict is Verdict.REGRESSED else 0
    notes = ["baselines changed in this pull request: 2 changed values (m/v score, m/v size)"]
    return write(folder, report([made], f"2026-01-0{number}T00-00-00Z", exit_status=status, notes=notes))


def test_a_red_run_is_a_comment_with_the_answer_first(forge: StandIn, tmp_path: Path) -> None:
    commands.comment(run(tmp_path), artifact="quantbench-gate")
    body = forge.comments[0]["body"]
    lines = [line for line in body.splitlines() if line]
    assert lines[0] == "<!-- quantbench gate red -->"
    assert lines[1].startswith("# quantbench: RED")
    assert body.index("3 pp worse") < body.index("<details>")
    assert "`quantbench inspect m/v`" in body
    assert "2 changed values (m/v score, m/v size)" in body
    assert "artifact `quantbench-gate` of [this job](https://github.com/team/models/actions/runs/77)" in body
    assert "Commit `cccccccccccc`" in body
    assert body.count("<details>") == body.count("</details>") == 1


def test_green_is_silent_and_takes_back_what_was_red(
    forge: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    green = run(tmp_path, Verdict.PASS)
    commands.comment(green)
    assert forge.comments == []
    commands.comment(run(tmp_path, number=2))
    commands.comment(green)
    [only] = forge.comments
    assert "green again" in only["body"]
    assert "<!-- quantbench gate green -->" in only["body"]
    assert TOKEN not in capsys.readouterr().out


def test_text_of_strangers_mentions_nobody_closes_nothing_and_is_no_html(forge: StandIn, tmp_path: Path) -> None:
    commands.comment(run(tmp_path, message=HOSTILE))
    body = forge.comments[0]["body"]
    html = MarkdownIt("commonmark", {"html": True}).render(body)
    assert "<script>" not in html
    assert 'href="http://evil"' not in html
    assert body.count("<!-- quantbench") == 1
    assert not any(line.lstrip().startswith("/close") for line in body.splitlines())
    shown = html.replace("<code>@everyone</code>", "")
    assert "@everyone" not in shown
    assert "#12" not in shown


def test_a_run_without_a_report_quotes_the_end_of_its_output(forge: StandIn, tmp_path: Path) -> None:
    (tmp_path / "output.txt").write_text("x\n" * 9000 + "quantbench: models: no such folder\n```\n@everyone")
    commands.comment(tmp_path / "none", otherwise=tmp_path / "output.txt")
    body = forge.comments[0]["body"]
    assert "The run wrote no report" in body
    assert "models: no such folder" in body
    assert len(body) < 4_000
    [shown] = re.findall("<pre>(.*?)</pre>", MarkdownIt().render(body), re.DOTALL)
    assert "models: no such folder" in shown
    assert "@everyone" in shown


@pytest.mark.parametrize("say", [commands.comment, commands.issue])
def test_a_run_that_ended_before_its_report_quotes_its_output_too(
    forge: StandIn, tmp_path: Path, say: Callable[..., None]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").write_text("began")
    (tmp_path / "output.txt").write_text("quantbench: killed")
    say(tmp_path / "run", otherwise=tmp_path / "output.txt")
    [said] = [*forge.comments, *forge.issues]
    assert "killed" in said["body"]
    written = run(tmp_path)
    for place in (written, written / "report.json"):
        say(place, otherwise=tmp_path / "output.txt")
        assert "3 pp worse" in said["body"]


def test_a_refusal_has_a_status_of_its_own(forge: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge.may_write = False
    with pytest.raises(RunEnded) as ended:
        commands.comment(run(tmp_path))
    assert ended.value.args == (7,)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "`pull-requests: write`" in said
    assert TOKEN not in said


def test_a_job_of_no_pull_request_is_bad_input(forge: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REF", "refs/heads/main")
    with pytest.raises(BadInput, match="--pull-request: this job is of no pull request"):
        commands.comment(run(tmp_path))
    commands.comment(tmp_path / "2026-01-01T00-00-00Z", pull_request=5)
    assert len(forge.comments) == 1


def test_the_nights_issue_is_edited_and_closed(forge: StandIn, tmp_path: Path) -> None:
    for number, verdict in enumerate([Verdict.REGRESSED, Verdict.REGRESSED, Verdict.PASS], 1):
        commands.issue(run(tmp_path, verdict, number=number))
    [only] = forge.issues
    assert (only["state"], only["labels"]) == ("closed", ["nightly"])
    assert "green again" in only["body"]


def test_the_text_alone_is_written_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_REPOSITORY", "CI_API_V4_URL", "CI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    commands.issue(run(tmp_path), output=tmp_path / "issue.md")
    assert (tmp_path / "issue.md").read_text().startswith("# quantbench: RED")
    with pytest.raises(BadInput, match="no job of GitHub Actions or GitLab CI"):
        commands.issue(tmp_path / "2026-01-01T00-00-00Z")


def test_a_night_is_told_to_a_webhook_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[str, str]] = []
    answers = [False, True, True]

    def send(url: str, title: str, text: str) -> bool:
        sent.append((title, text))
        return answers.pop(0)

    monkeypatch.setattr(notify, "by_apprise", lambda urls: send)
    monkeypatch.setenv("QUANTBENCH_NOTIFY", "slack://secret")
    red, green = run(tmp_path), run(tmp_path, Verdict.PASS, number=2)
    state = tmp_path / "history"
    with pytest.raises(RunEnded):
        commands.notify(red, state)
    for folder in (red, red, green, green):
        commands.notify(folder, state)
    told = capsys.readouterr()
    assert [title for title, _ in sent] == ["quantbench: RED: regressed"] * 2 + ["quantbench: green again"]
    assert "- m/v: regressed" in sent[0][1]
    assert told.out.count("nothing to tell") == 2
    assert "secret" not in told.out + told.err
    assert list(json.loads((state / "notified.json").read_text())["told"].values()) == ["green"]


def test_a_night_that_cannot_be_remembered_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(notify, "by_apprise", lambda urls: lambda *said: bool(sent.append(said[1])))
    monkeypatch.setenv("QUANTBENCH_NOTIFY", "slack://secret")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BadInput, match="--state-dir: cannot write to"):
        commands.notify(run(tmp_path), tmp_path / "file" / "history")
    assert sent == []
