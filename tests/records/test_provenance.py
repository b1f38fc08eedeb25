"""A baseline on disk: one line a value, provenance once per update, and nothing in it that points nowhere."""

import datetime
import difflib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from quantbench.baselines import check, upgrade
from quantbench.baselines.files import packed, save
from quantbench.baselines.seals import seal_of
from quantbench.errors import BadInput
from quantbench.records import (
    LONGEST_TEXT,
    Accepted,
    BaselineCell,
    BaselineFile,
    BaselineValue,
    Overlay,
    json_text,
    problems,
    read_record,
    rounded,
)

UPDATE = Accepted(date="2026-01-01", reason="first", run="r1", environment="e", commit="c" * 40)
LATER = UPDATE.model_copy(update={"date": "2026-02-01", "reason": "tensorflow 2.22", "run": "r2"})
PREDICTIONS = {"float32": np.arange(9, dtype=np.float32), "ptq_float16": np.arange(9, dtype=np.float32)}


def value(number: float, accepted: Accepted = UPDATE, **more: Any) -> BaselineValue:
    fields: dict[str, Any] = {"unit": "bytes", "n": 1, "noise": 0.0, "noise_from": "a file has one size"} | more
    return BaselineValue(value=number, tolerance=0.01, tolerance_from="1 % of it", accepted=accepted, **fields)


def whole(number: float = 1000.0, accepted: Accepted = UPDATE) -> BaselineFile:
    """Two cells with a value in every place that may hold one."""
    timed = value(0.8, UPDATE.model_copy(update={"host": "abc"}), unit="ratio", n=2, values=[0.7, 0.9])
    cell = BaselineCell(
        measurements={"size": value(number, accepted), "gzip_size": value(900.0)},
        latency={"here": timed},
        peak_memory={"here": value(9e6)},
        by_machine={"model_memory": {"here": value(9e5)}},
        overlays={"there": Overlay(measurements={"size": value(1100.0)})},
    )
    other = cell.model_copy(update={"measurements": {"size": value(2000.0)}})
    return BaselineFile(
        model="m",
        metric="accuracy",
        data_sha256="d",
        predictions_sha256=hashlib.sha256(packed(PREDICTIONS)).hexdigest(),
        cells={"float32": other, "ptq_float16": cell},
    )


def text_of(folder: Path, file: BaselineFile) -> str:
    save(folder, file, None)
    return (folder / "m.json").read_text()


def contents(file: BaselineFile) -> dict[str, Any]:
    """What a file says, without how it says it."""
    data = file.model_dump(mode="json", exclude={"updates", "notes", "seals", "seal", "schema_version"})
    for cell in data["cells"].values():
        cell.pop("seal", None)
    return data


def as_in_1_6(file: BaselineFile) -> dict[str, Any]:
    """The file as version 1.6 wrote it: provenance with every value, seals in the cells."""
    data = file.model_dump(mode="json", exclude_none=True, exclude={"updates", "notes", "seals"})
    for variant, cell in file.cells.items():
        data["cells"][variant]["seal"] = seal_of(file.model, variant, cell)
    return {**rounded(data), "schema_version": "1.6"}


def test_a_file_says_what_was_written(tmp_path: Path) -> None:
    text = text_of(tmp_path, whole())
    assert contents(read_record(tmp_path / "m.json", BaselineFile, "baseline")) == contents(whole())
    assert text.count(UPDATE.reason) == 1
    assert text.count("1 % of it") == 1


def test_a_changed_value_is_one_line_and_its_update_is_there_once(tmp_path: Path) -> None:
    before, after = text_of(tmp_path, whole()), text_of(tmp_path, whole(1010.0, LATER))
    lines = [line[1:].strip() for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    seals = [line for line in lines if line.startswith('"ptq_float16": {"by_machine.')]
    values = [line for line in lines if line.startswith('"size": {"value": ')]
    update = [line for line in lines if line not in seals + values]
    assert len(values) == len(seals) == 2  # the old one and the new one
    assert values[1].startswith('"size": {"value": 1010.0, "unit": "bytes"')
    assert [line for line in update if "reason" in line] == [f'"reason": "{LATER.reason}",']
    assert len(update) == len(LATER.model_dump(exclude_none=True)) + 2  # a line a field, and the brackets


def nowhere(data: Any) -> None:
    data["cells"]["ptq_float16"]["measurements"]["size"]["accepted"] = "2026-01-01-00000000"


def taken_out(data: Any) -> None:
    data["updates"] = {}


def edited(data: Any) -> None:
    next(iter(data["updates"].values()))["reason"] = "another"


def renamed(data: Any) -> None:
    data["updates"]["mine"] = next(iter(data["updates"].values()))


def with_host(data: Any) -> None:
    next(iter(data["updates"].values()))["host"] = "h"


def incomplete(data: Any) -> None:
    next(iter(data["updates"].values())).pop("run")


def another_text(data: Any) -> None:
    name = next(iter(data["notes"]))
    data["notes"][name] = "sd over fresh processes of one run"


def no_text(data: Any) -> None:
    data["notes"] = {}


def long_reason(data: Any) -> None:
    next(iter(data["updates"].values()))["reason"] = "x" * (LONGEST_TEXT + 1)


def long_text(data: Any) -> None:
    data["notes"][next(iter(data["notes"]))] = "x" * (LONGEST_TEXT + 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (long_reason, r"update '2026-01-01-\w+': 'reason' is longer than 2000 characters; give a shorter one"),
        (long_text, r"note '\w+' has 2001 characters, expected at most 2000"),
        (nowhere, r"measurements\.size\.accepted': expected an id that is in 'updates', found '2026-01-01-00000000'"),
        (taken_out, r"accepted': expected an id that is in 'updates'"),
        (edited, r"field 'updates': update '2026-01-01-\w+' was edited by hand.*restore the file from git"),
        (renamed, r"field 'updates': update 'mine' was edited by hand, or is there under another id"),
        (with_host, r"field 'updates': update '2026-01-01-\w+' was edited by hand"),
        (incomplete, r"field 'updates\.2026-01-01-\w+\.run'"),
        (another_text, r"field 'notes': note '\w+' was edited by hand"),
        (no_text, r"noise_from': expected '#' and an id that is in 'notes', found '#\w+'"),
    ],
)
def test_provenance_that_was_edited_or_points_nowhere_is_refused(
    tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    path = tmp_path / "m.json"
    data = json.loads(text_of(tmp_path, whole()))
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match=words):
        read_record(path, BaselineFile, "baseline")
    assert problems(path, BaselineFile, "baseline")


def test_two_updates_with_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    text = text_of(tmp_path, whole())
    name = next(iter(json.loads(text)["updates"]))
    path.write_text(text.replace('"updates": {', f'"updates": {{"{name}": {{}},'))
    with pytest.raises(BadInput, match=f"key '{name}' appears twice in one object"):
        read_record(path, BaselineFile, "baseline")


def test_a_file_of_1_6_is_read_and_upgraded_without_a_change_of_value_or_seal(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    save(tmp_path, whole(), PREDICTIONS)
    header = json.loads(path.read_text())["seal"]
    path.write_text(json_text(as_in_1_6(whole()) | {"seal": header}))
    old = read_record(path, BaselineFile, "baseline")
    assert contents(old) == contents(whole())
    told = upgrade.upgrade(tmp_path, "m")
    assert "version 1.6 -> " in told
    assert told.endswith("no value changed")
    new = read_record(path, BaselineFile, "baseline")
    assert contents(new) == contents(whole())
    assert new.seals == {variant: cell.seal for variant, cell in old.cells.items()}
    assert new.seal == old.seal == header
    assert "already in version" in upgrade.upgrade(tmp_path, "m")


def test_predictions_of_an_older_format_are_upgraded_too_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, **PREDICTIONS)  # as until 1.10: no differences
    older = whole().model_copy(update={"predictions_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    save(tmp_path, older, None)
    told = upgrade.upgrade(tmp_path, "m")
    assert f"-> {path.stat().st_size:,} bytes; no value changed" in told
    assert path.read_bytes() == packed(PREDICTIONS)
    assert read_record(tmp_path / "m.json", BaselineFile, "baseline").predictions_sha256 == whole().predictions_sha256
    assert "already in version" in upgrade.upgrade(tmp_path, "m")
    path.write_bytes(packed({"float32": PREDICTIONS["float32"]}))
    with pytest.raises(BadInput, match=r"m\.npz: stored predictions do not match 'predictions_sha256'"):
        upgrade.upgrade(tmp_path, "m")


def test_an_edit_by_hand_is_not_upgraded_and_neither_is_what_has_no_seals(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    save(tmp_path, whole(), PREDICTIONS)
    data = as_in_1_6(whole()) | {"seal": json.loads(path.read_text())["seal"]}
    data["cells"]["ptq_float16"]["measurements"]["size"]["accepted"]["commit"] = "d" * 40
    path.write_text(json_text(data))
    with pytest.raises(BadInput, match=r"measurements\.size\.accepted' was changed by hand"):
        upgrade.upgrade(tmp_path, "m")
    for cell in data["cells"].values():
        cell.pop("seal")
    path.write_text(json_text({**data, "schema_version": "1.4", "seal": None}))
    with pytest.raises(BadInput, match="quantbench baseline seal m does both"):
        upgrade.upgrade(tmp_path, "m")


@pytest.mark.parametrize("path", sorted((ROOT / "baselines").glob("*.json")), ids=lambda path: path.stem)
def test_the_projects_own_baselines_are_as_this_version_writes_them(path: Path, tmp_path: Path) -> None:
    save(tmp_path, read_record(path, BaselineFile, "baseline"), None)
    assert (tmp_path / path.name).read_text() == path.read_text()


def test_check_names_what_is_wrong_in_one_file_and_goes_on(tmp_path: Path) -> None:
    save(tmp_path, whole(), None)
    data = json.loads((tmp_path / "m.json").read_text())
    nowhere(data)
    (tmp_path / "m.json").write_text(json.dumps(data))
    (tmp_path / "n.json").write_text("{}")
    found = [str(one) for one in check.check({}, tmp_path, datetime.date(2026, 6, 1))]
    assert any("m.json" in line and "expected an id that is in 'updates'" in line for line in found)
    assert any("n.json" in line and "field 'kind'" in line for line in found)
