"""As a new user: from a repository with a Keras 3 model to a red pull request with a comment, in five commands."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from composite_action import Runner, filled, shims
from conftest import ROOT, run_quantbench, run_script
from stand_in_forge import TOKEN, StandIn, stand_in

# Where the settings that `init` writes are not read, the folders are named.


@dataclass
class User:
    """Somebody who types commands in a repository; ``pip install quantbench`` is the first."""

    folder: Path
    store: Path
    typed: list[str] = field(default_factory=lambda: ["pip install quantbench"])

    def quantbench(self, *arguments: str) -> str:
        done = run_quantbench(*arguments, store=self.store, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        self.typed.append(f"quantbench {' '.join(arguments)}")
        return done.stdout

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout

    def push(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "--set-upstream", "origin", "HEAD")


@pytest.fixture
def forge() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras3")
    done = run_script(ROOT / "tests" / "make_keras3_models.py", str(folder))
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture
def user(tmp_path: Path, models: Path, store: Path) -> User:
    """Give a user an empty repository with a model and its data."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "origin")], check=True)
    subprocess.run(["git", "clone", "--quiet", str(tmp_path / "origin"), str(tmp_path / "mine")], check=True)
    found = User(tmp_path / "mine", store)
    found.git("switch", "--quiet", "--create", "main")
    shutil.copy(models / "good.keras", found.folder / "shapes.keras")
    shutil.copy(models / "eval.npz", found.folder)
    return found


def gated(tmp_path: Path, branch: str, forge: StandIn, store: Path) -> Runner:
    """Run the workflow that is in the repository, on a pull request of a branch, as actions/checkout leaves it."""
    checkout = tmp_path / f"checkout-{len(list(tmp_path.iterdir()))}"
    subprocess.run(["git", "clone", "--quiet", "--branch", branch, str(tmp_path / "origin"), str(checkout)], check=True)
    workflow = yaml.safe_load((checkout / ".github" / "workflows" / "quantbench.yml").read_text())
    steps = workflow["jobs"]["pull-request"]["steps"]
    [given] = [step["with"] for step in steps if step["uses"] == "team/quantbench@v1"]
    contexts = {"github.event_name": "pull_request", "github.base_ref": "main", "github.token": TOKEN}
    functions = {"baselines": "merge-base"}  # what its expression says of a pull request without labels
    inputs = {name: functions.get(name) or filled(str(value), contexts) for name, value in given.items()}
    inputs["arguments"] += " ".join(["", "--no-latency", "--no-gpu", "--workers", "1"])
    environment = {name: value for name, value in forge.environment().items() if name != "GITHUB_TOKEN"}
    runner = Runner(checkout, tmp_path / "runner", shims(checkout.with_suffix(".bin")), inputs, contexts, environment)
    shutil.copytree(store, runner.temporary / "quantbench-cache" / "store", symlinks=True, dirs_exist_ok=True)
    return runner


@pytest.mark.nightly
@pytest.mark.slow
def test_from_an_empty_repository_to_a_red_pull_request(
    user: User, tmp_path: Path, models: Path, forge: StandIn, store: Path
) -> None:
    """By day `init`, `adopt` and the action have tests of their own, each with the others made up."""
    user.quantbench("init", "--ci", "github", "--action", "team/quantbench@v1")
    own = ["--latency-budget", "0"]
    gate = ["--gate", "ptq_dynamic_wi8_afp32"]
    user.quantbench("adopt", "shapes.keras", "--name", "shapes", "--data", "eval.npz", *gate, *own)
    user.push("Gate the model")

    user.git("switch", "--quiet", "--create", "faster-training")
    (user.folder / "README.md").write_text("harmless\n")
    user.push("A harmless change")
    green = gated(tmp_path, "faster-training", forge, store)
    assert green.run(), green.printed
    assert forge.comments == []

    shutil.copy(models / "worse.keras", user.folder / "shapes.keras")
    user.quantbench("adopt", "shapes.keras", "--update", "shapes", "--accept", "trained in less time", *own)
    user.push("Train in less time")
    red = gated(tmp_path, "faster-training", forge, store)
    assert not red.run()
    assert red.outputs["status"] == "1"
    [comment] = forge.comments
    assert comment["body"].startswith("<!-- quantbench gate red -->\n# quantbench: RED")
    assert "shapes/ptq_dynamic_wi8_afp32" in comment["body"]
    assert "baselines changed in this pull request" in comment["body"]
    uploaded = red.folder / red.used["actions/upload-artifact"]["path"]
    assert (uploaded / "red" / "shapes" / "ptq_dynamic_wi8_afp32.tflite").read_bytes()[4:8] == b"TFL3"
    assert len(user.typed) <= 5, user.typed
    assert TOKEN not in red.printed

    accepted = gated(tmp_path, "faster-training", forge, store)  # a maintainer adds the label
    accepted.inputs["baselines"] = "head"
    assert accepted.run(), accepted.printed
    assert "green again" in forge.comments[0]["body"]
    assert len(forge.comments) == 1
