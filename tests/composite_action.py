"""Run a composite action's shell steps here, as a GitHub runner would; what it uses of others is only recorded."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import command_server
import conftest
import yaml
from conftest import ROOT

ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
_TOKEN = re.compile(r"'(?:[^']|'')*'|&&|\|\||[!=]=|!|[(),]|[A-Za-z_][\w.-]*")


def evaluated(expression: str, contexts: Mapping[str, str]) -> Any:
    """Evaluate an expression of a workflow: strings, names, ==, !=, !, &&, || and always()."""
    python = []
    for token in _TOKEN.findall(expression):
        if token[0] == "'" or token in ("==", "!=", "(", ")", ","):
            python.append(token)
        elif token in ("&&", "||", "!"):
            python.append({"&&": " and ", "||": " or ", "!": " not "}[token])
        elif token in ("always", "true"):
            python.append("(lambda: True)" if token == "always" else "True")
        else:
            python.append(repr(contexts.get(token, "")))
    return eval("".join(python), {"__builtins__": {}})


def filled(text: str, contexts: Mapping[str, str]) -> str:
    """Fill in the expressions of a text."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: str(evaluated(found[1], contexts)), text)


@dataclass
class Runner:
    """Run the action in a folder.

    Attributes:
        bin: folder with ``quantbench`` and ``python``, in place of what the action installs.
        inputs: those that are not the defaults.
        contexts: of the job, such as ``github.base_ref``.
        environment: GitHub's variables of the job.
        used: what the action used of others, with what it gave them.
        ran: names of the shell steps that ran, with their exit statuses.
    """

    folder: Path
    temporary: Path
    bin: Path
    inputs: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    ran: dict[str, int] = field(default_factory=dict)
    printed: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)

    def run(self) -> bool:
        """Run all steps; return whether the job is green."""
        self.temporary.mkdir(exist_ok=True)
        known = {
            "runner.temp": str(self.temporary),
            "runner.os": "Linux",
            "runner.arch": "X64",
            "github.run_id": "77",
            "github.run_attempt": "1",
            "github.action_path": str(ROOT),
            **self.contexts,
        }
        for name, declared in ACTION["inputs"].items():
            known[f"inputs.{name}"] = self.inputs.get(name, filled(str(declared["default"]), known))
        green = True
        for step in STEPS:
            wanted = step.get("if", "").removeprefix("${{").removesuffix("}}")
            if not (evaluated(wanted, known) if wanted else True) or not (green or "always()" in wanted):
                continue
            if step.get("id") == "install":
                known["steps.install.outputs.bin"] = str(self.bin)
            elif "uses" in step:
                given = {name: filled(str(value), known) for name, value in step.get("with", {}).items()}
                self.used[step["uses"].partition("@")[0]] = given
            else:
                green &= self._shell(step, known) == 0
        self.outputs = {name: filled(str(one["value"]), known) for name, one in ACTION["outputs"].items()}
        return green

    def _shell(self, step: dict[str, Any], known: dict[str, str]) -> int:
        output, summary, script = (self.temporary / name for name in ("output", "summary", "script"))
        for path in (output, summary):
            path.write_text("")
        script.write_text(step["run"])
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.environment}
        environment |= {name: filled(str(value), known) for name, value in step.get("env", {}).items()}
        environment |= {"RUNNER_TEMP": str(self.temporary), "GITHUB_OUTPUT": str(output)}
        environment["GITHUB_STEP_SUMMARY"] = str(summary)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
            cwd=self.folder / filled(step.get("working-directory", "."), known),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.ran[step["name"]] = done.returncode
        self.printed += done.stdout
        self.summary += summary.read_text()
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            known[f"steps.{step.get('id')}.outputs.{name}"] = value
        return done.returncode


def shims(folder: Path, run: str = "") -> Path:
    """Make a folder with ``python`` and ``quantbench``; that is forked from the commands' server, but not at night.

    Args:
        run: shell script in place of ``quantbench run``; empty for the real one.
    """
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    forked = f'-S "{Path(__file__).with_name("forked_command.py")}" "{command_server.folder() / command_server.PLAIN}"'
    called = forked if conftest.forks else "-m quantbench"
    real = f'exec env PYTHONPATH="{os.pathsep.join(sys.path)}" "{sys.executable}" {called} "$@"'
    fake = f'if [ "$1" = run ]; then shift; {run}\nfi\n' if run else ""
    (folder / "quantbench").write_text(f"#!/bin/bash\n{fake}{real}\n")
    (folder / "quantbench").chmod(0o755)
    return folder
