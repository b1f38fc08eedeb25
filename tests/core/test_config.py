"""Settings of a repository: where they are found, what counts before what, and what is refused."""

import json
import os
from pathlib import Path

import pytest
from conftest import run_quantbench
from quantbench.core import config
from quantbench.core.config import KEYS, resolve, settings_at
from quantbench.core.options import RunOptions, flag, given
from quantbench.errors import BadInput

TABLE = "[tool.quantbench]\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository, and go there; no variable of the tests' own environment is seen."""
    for key in KEYS.values():
        monkeypatch.delenv(key.variable, raising=False)
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "pyproject.toml") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_without_a_config_everything_is_as_it_was(repository: Path) -> None:
    settings = resolve()
    assert settings.options() == RunOptions()
    assert settings.chosen == {}
    assert "running the models shipped with quantbench, not yours" in settings.note()


def test_a_config_is_found_upward_and_its_folders_are_relative_to_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository, TABLE + 'model-dir = "ml/models"\nseeds = 3\n')
    (repository / "sub" / "deep").mkdir(parents=True)
    monkeypatch.chdir(repository / "sub" / "deep")
    settings = resolve()
    assert settings["model_dir"] == Path("../../ml/models")
    assert settings["baseline_dir"] == Path("../../baselines"), "the repository's own, never those that are shipped"
    assert settings.by_name["seeds"] == config.Setting("seeds", 3, "config file", f"{repository / 'pyproject.toml'}:3")
    assert settings.note() == ""
    assert resolve(absolute=True)["model_dir"] == repository / "ml" / "models"


def test_the_search_ends_at_the_root_of_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository, "seeds = 3\n", "quantbench.toml")
    (repository / "other" / ".git").mkdir(parents=True)
    monkeypatch.chdir(repository / "other")
    assert resolve().files == ()


def test_a_pyproject_without_the_table_is_passed_by(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository, TABLE + "seeds = 3\n")
    write(repository / "package", '[project]\nname = "p"\n')
    write(repository / "broken", "this = is = not TOML\n")
    for folder in ("package", "broken"):
        monkeypatch.chdir(repository / folder)
        assert resolve()["seeds"] == 3


def test_a_config_of_another_user_is_not_read(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(repository, TABLE + 'model_dir = "theirs"\n')
    (repository / "mine").mkdir()
    monkeypatch.chdir(repository / "mine")
    monkeypatch.setattr(config, "_trusted", lambda path, start: False)
    settings = resolve()
    assert settings.of_shipped_models
    assert settings.ignored == (repository / "pyproject.toml",)


def test_the_owner_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    assert config._trusted(path, tmp_path)
    assert config._trusted(path, Path("/"))
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert config._trusted(path, tmp_path), "a container reads what is mounted into it"
    if owner:
        assert not config._trusted(path, Path("/"))


def test_an_option_counts_before_a_variable_and_that_before_the_file(repository: Path) -> None:
    write(repository, TABLE + 'seeds = 3\nno-latency = true\nthreads = [1, "all"]\nmodels = ["a", "b"]\n')
    settings = resolve(environ={"QUANTBENCH_SEEDS": "7", "QUANTBENCH_NO_LATENCY": "off"})
    assert (settings["seeds"], settings["no_latency"]) == (7, False)
    assert settings.by_name["seeds"].where == "QUANTBENCH_SEEDS"
    options = settings.options(seeds=9, models=None)
    assert (options.seeds, options.threads, options.models) == (9, "1,all", "a,b")
    # A command pasted where the variable is not set has to say it.
    assert given(options, "seeds", "no_latency", "model_dir") == ["--seeds 9", "--latency"]


def test_the_cache_of_the_file_holds_for_this_process_and_its_children_unless_a_variable_names_one(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository, TABLE + 'cache_dir = "cache"\n')
    with resolve().cache_in_force():
        assert os.environ[config.CACHE] == str(repository / "cache")
    assert config.CACHE not in os.environ
    monkeypatch.setenv(config.CACHE, "/other")
    with resolve().cache_in_force():
        assert os.environ[config.CACHE] == "/other"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seads = 3", "pyproject.toml:2: tool.quantbench.seads: unknown key; did you mean seeds?"),
        ("seeds = '3'", "pyproject.toml:2: tool.quantbench.seeds: expected a whole number, found '3'"),
        ("seeds = true", "tool.quantbench.seeds: expected a whole number, found true"),
        ("seeds = 0", "tool.quantbench.seeds: expected a whole number of at least 1, found 0"),
        ("false-alarms = 2", "tool.quantbench.false-alarms: expected a probability below 1, found 2"),
        ("cache_size = nan", "tool.quantbench.cache_size: expected GB, or 0 for any size, found nan"),
        ("no_gpu = 1", "tool.quantbench.no_gpu: expected true or false, found 1"),
        ("latency = false", "unknown key; write no_latency with the opposite value"),
        ("models = [1]", "tool.quantbench.models: expected text, or a list of texts, found [1]"),
        ("models = []", "tool.quantbench.models: names nothing; leave the key out for all"),
        ("threads = [true]", "tool.quantbench.threads: expected text, or a list of texts, found [true]"),
        ("model_dir = ''", "tool.quantbench.model_dir: expected text, a folder, found ''"),
        (
            "threads = 'x'",
            "pyproject.toml:2: tool.quantbench.threads: expected whole numbers of at least 1, or 'all', found",
        ),
        ("threads = [0]", "tool.quantbench.threads: expected whole numbers of at least 1"),
        ("max_drop = 'x'", "pyproject.toml:2: tool.quantbench.max_drop: expected a number of at least 0 such as 0.5"),
        ("max_drop = [0.5, '2%']", "tool.quantbench.max_drop: 2%: given twice for all outputs"),
        ("max_drop = {}", "tool.quantbench.max_drop: expected a number or text"),
        ("shard = '1/2'", "unknown key; --shard belongs to one run, so give it on the command line"),
        ("seeds = 1\nformat = 2", "pyproject.toml:3: tool.quantbench.format: this config is of version 2"),
        ("unheard_of = 1\nformat = 99", "of version 99, and this quantbench reads up to version 1; upgrade quantbench"),
        ("format = 'new'", "tool.quantbench.format: expected 1, found 'new'"),
        ("model_dir = 'a'\nmodel-dir = 'b'", "is given twice, with - and with _"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("seeds = ", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_field_and_what_was_expected(
    repository: Path, text: str, sentence: str
) -> None:
    write(repository, f"{TABLE}{text}\n")
    with pytest.raises(BadInput) as refused:
        resolve()
    said = str(refused.value).replace("True", "true")
    assert sentence in said
    assert "\n" not in said.split("not valid TOML")[0]


def test_a_table_that_is_no_table(repository: Path) -> None:
    write(repository, "[tool]\nquantbench = 3\n")
    with pytest.raises(BadInput, match=r"tool\.quantbench: expected a table of settings, found 3"):
        resolve()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("SEEDS", "many", "a whole number"),
        ("NO_GPU", "perhaps", "true or false"),
        ("CACHE_SIZE", "-1", "expected GB"),
        ("THREADS", "many", "expected whole numbers of at least 1"),
        ("MAX_DROP", "-1", "expected a number of at least 0"),
    ],
)
def test_a_variable_that_is_wrong_is_named(repository: Path, name: str, text: str, expected: str) -> None:
    with pytest.raises(BadInput, match=f"^QUANTBENCH_{name}: .*{expected}"):
        resolve(environ={f"QUANTBENCH_{name}": text})


def test_a_table_in_our_own_file_is_told_where_keys_go(repository: Path) -> None:
    write(repository, TABLE + "seeds = 3\n", "quantbench.toml")
    with pytest.raises(BadInput, match=r"^quantbench\.toml: \[tool\.quantbench\]: keys go at the top level of quantb"):
        resolve()


def test_a_variable_that_is_nearly_ours_is_noted_and_no_other() -> None:
    others = {"QUANTBENCH_VULKAN": "", "QUANTBENCH_NOTIFY": "", "QUANTBENCH_SEEDS": "1", "MODEL_DRI": ""}
    assert resolve(environ=others).unknown_variables() == []
    assert resolve(environ={"QUANTBENCH_MODEL_DRI": "ml"}).unknown_variables() == [
        "QUANTBENCH_MODEL_DRI: no such environment variable; did you mean QUANTBENCH_MODEL_DIR?"
    ]


# ---------------------------------------------------------------- a config that is named


def test_a_config_is_named_by_its_folder_or_its_file(repository: Path) -> None:
    write(repository / "other" / "deep", "", "note.txt")
    write(repository / "other", TABLE + "seeds = 3\n")
    write(repository / "other", "seeds = 3\nno_gpu = true\n", "quantbench.toml")
    for place, no_gpu in (("other", True), ("other/deep", True), ("other/pyproject.toml", False)):
        settings = settings_at(place)
        assert (settings["seeds"], settings["no_gpu"]) == (3, no_gpu)
        assert settings["model_dir"] == Path("other/models")
    assert settings_at(None)["seeds"] == resolve()["seeds"] == 1


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("/nosuch", "config: no such folder or file: /nosuch; give a folder with a pyproject.toml or quantbench.toml"),
        ("bare", "config: bare: holds no [tool.quantbench] in pyproject.toml and no quantbench.toml"),
        ("bare/pyproject.toml", "config: bare/pyproject.toml: holds no [tool.quantbench]; add the table"),
        ("bare/other.toml", "other.toml: expected a folder, a pyproject.toml or a quantbench.toml, found another file"),
        (3, "config: expected the path of a file or folder, found 3"),
        ("", "config: expected the path of a file or folder, found ''"),
    ],
)
def test_a_named_config_that_is_none_is_never_passed_by(repository: Path, place: str, sentence: str) -> None:
    write(repository / "bare", "[tool.other]\n")
    write(repository / "bare", "seeds = 3\n", "other.toml")
    with pytest.raises(BadInput) as refused:
        settings_at(place)
    assert sentence in str(refused.value)


def test_an_error_about_a_setting_names_where_it_stands(repository: Path) -> None:
    write(repository, TABLE + "model_dir = 'ml'\nvariants = ['a', 'b']\n")
    settings = resolve(environ={"QUANTBENCH_BASELINE_DIR": "gone"})
    assert settings.located("--model-dir: no such folder: ml") == "pyproject.toml:2: model_dir: no such folder: ml"
    assert settings.located("--variants: unknown name 'b'; x") == "pyproject.toml:3: variants: unknown name 'b'; x"
    assert settings.located("--baseline-dir: no such folder: gone") == "QUANTBENCH_BASELINE_DIR: no such folder: gone"
    for of_an_option in ("--model-dir: no such folder: other", "--variants: unknown name 'c'; known: a, b", "ml: x"):
        assert settings.located(of_an_option) == of_an_option


def test_two_files_of_one_folder_may_agree_and_not_contradict(repository: Path) -> None:
    write(repository, TABLE + "seeds = 3\n")
    write(repository, "seeds = 3\nno_gpu = true\n", "quantbench.toml")
    settings = resolve()
    assert (settings["seeds"], settings["no_gpu"]) == (3, True)
    write(repository, "# ours\nseeds = 4\n", "quantbench.toml")
    with pytest.raises(BadInput, match=r"pyproject.toml:2 and quantbench.toml:2: seeds is 3 in one and 4 in the other"):
        resolve()


def test_every_key_has_a_variable_of_its_own() -> None:
    assert len({key.variable for key in KEYS.values()}) == len(KEYS)
    assert KEYS["cache_dir"].variable == "QUANTBENCH_CACHE"


# ---------------------------------------------------------------- the command


def test_the_command_shows_what_holds_and_from_where(repository: Path) -> None:
    write(repository, TABLE + 'model-dir = "ml"\nno_latency = true\n')
    done = run_quantbench("config", store=repository / "cache", cwd=repository, QUANTBENCH_SEEDS="5")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "model_dir ml config file, pyproject.toml:2" in lines
    assert "seeds 5 environment variable, QUANTBENCH_SEEDS" in lines
    assert "baseline_dir baselines default" in lines
    assert "note: model_dir: no such folder: ml" in lines
    assert f"cache_dir {repository / 'cache'} environment variable, QUANTBENCH_CACHE" in lines
    asked = run_quantbench("config", "--json", store=repository / "cache", cwd=repository)
    told = json.loads(asked.stdout)
    assert told["files"] == ["pyproject.toml"]
    assert told["settings"]["no_latency"] == {
        "value": True,
        "from": "config file",
        "where": "pyproject.toml:3",
        "variable": "QUANTBENCH_NO_LATENCY",
    }


def test_the_command_says_that_the_cache_is_the_files(repository: Path) -> None:
    write(repository, TABLE + 'cache_dir = "own"\n')
    done = run_quantbench("config", store=repository / "cache", cwd=repository, QUANTBENCH_CACHE="")
    assert "cache_dir own config file, pyproject.toml:2" in [
        " ".join(line.split()) for line in done.stdout.splitlines()
    ]
    listed = run_quantbench("cache", "ls", store=repository / "cache", cwd=repository, QUANTBENCH_CACHE="")
    assert str(repository / "own") in listed.stdout


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (
            ["models"],
            "pyproject.toml:2: model_dir: no such folder: ml; give a folder of model files, or adopt a model first",
        ),
        (["baseline", "diff"], "out/latest"),
        (["inspect", "m/float32"], "out/latest"),
        (["export", "m/float32"], "out/latest"),
        (["report"], "out/latest"),
        (["history"], "out"),
        (
            ["run"],
            "pyproject.toml:2: model_dir: no such folder: ml; give a folder of model files, or adopt a model first",
        ),
        (["config", "--json"], "pyproject.toml:4: variants: unknown name 'ptq_flot16'; did you mean ptq_float16?"),
    ],
)
def test_every_command_takes_its_folders_from_the_config(repository: Path, command: list[str], shown: str) -> None:
    write(repository, TABLE + 'model-dir = "ml"\nreport-dir = "out"\n')
    if command[0] == "config":
        write(repository, TABLE + 'model-dir = "ml"\nreport-dir = "out"\nvariants = "ptq_flot16"\n')
    done = run_quantbench(*command, store=repository / "cache", cwd=repository)
    assert done.returncode == 4
    assert shown in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_broken_config_stops_every_command_but_not_its_help(repository: Path) -> None:
    write(repository, TABLE + "seads = 1\n")
    done = run_quantbench("models", store=repository / "cache", cwd=repository)
    assert (done.returncode, done.stdout) == (4, "")
    assert "did you mean seeds?" in done.stderr
    assert run_quantbench("run", "--help", store=repository / "cache", cwd=repository).returncode == 0


def test_options_of_the_gate_are_no_defaults_of_other_commands(repository: Path) -> None:
    write(repository, TABLE + 'seeds = 3\nmodels = "kws"\n')
    for command in ("pin", "selftest"):
        done = run_quantbench(command, "--help", store=repository / "cache", cwd=repository)
        assert done.returncode == 0
        assert "kws" not in done.stdout
        assert "default: 3]" not in done.stdout
    assert "default: 3]" in run_quantbench("run", "--help", store=repository / "cache", cwd=repository).stdout


def test_switches_of_the_config_can_be_taken_back(repository: Path) -> None:
    shown = run_quantbench("run", "--help", store=repository / "cache", cwd=repository).stdout
    assert "--latency" in shown
    assert flag("no_latency") in shown
