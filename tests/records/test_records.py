"""The file formats: their schema, and one clear sentence for every way of being wrong."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_runs import cell, measured, report
from quantbench.errors import BadInput
from quantbench.records import BaselineFile, Report, _files, read_record, schema, write_json

BASELINE = ROOT / "baselines" / "seed_cnn.json"


@pytest.mark.parametrize(("name", "record"), [("report", Report), ("baseline", BaselineFile)])
def test_the_shipped_schema_is_that_of_the_record(name: str, record: type[Report]) -> None:
    shipped = json.loads((ROOT / "bench" / "quantbench" / "records" / "schemas" / f"{name}.schema.json").read_text())
    assert shipped == schema(record), (
        f"run: quantbench schema {name} > bench/quantbench/records/schemas/{name}.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(shipped)


@pytest.mark.parametrize("path", sorted((ROOT / "baselines").glob("*.json")), ids=lambda path: path.stem)
def test_every_baseline_in_the_project_fits_the_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), schema(BaselineFile))
    read_record(path, BaselineFile, "baseline")


@pytest.mark.parametrize(("cells", "samples"), [(20, [8]), (300, [8]), (1100, [8, 64])])
def test_a_sample_is_checked_first_where_it_spares_more_than_it_costs(
    cells: int, samples: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    check = _files._check_sample
    monkeypatch.setattr(_files, "_MANY", 500)
    monkeypatch.setattr(_files, "_check_sample", lambda *given: taken.append(given[4]) or check(*given))
    many = [cell(f"v{number}", measurements={"latency": measured(1.0, "µs", [1.0, 2.0])}) for number in range(cells)]
    write_json(tmp_path / "report.json", report(many))
    assert len(read_record(tmp_path / "report.json", Report, "report").cells) == cells
    assert taken == samples


def test_written_files_are_sorted_rounded_and_end_in_a_newline(tmp_path: Path) -> None:
    record = read_record(BASELINE, BaselineFile, "baseline")
    record.cells["float32"].measurements["score"].value = 0.1234567891234
    write_json(tmp_path / "b.json", record)
    text = (tmp_path / "b.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)["cells"]) == sorted(json.loads(text)["cells"])
    assert json.loads(text)["cells"]["float32"]["measurements"]["score"]["value"] == 0.123456789


def _score(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["cells"]["float32"]["measurements"]["score"]
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: _score(d).update(value="high"), ["cells.float32.measurements.score.value", "number", "'high'"]),
        (lambda d: _score(d).update(value=float("nan")), ["cells.float32.measurements.score.value", "finite", "nan"]),
        (lambda d: _score(d).update(value="0.87"), ["cells.float32.measurements.score.value", "number", "'0.87'"]),
        (lambda d: _score(d).update(noise=-1), ["score.noise", "greater than or equal to 0", "-1"]),
        (lambda d: _score(d).update(tolerence=1), ["score.tolerence", "Extra inputs"]),
        (lambda d: _score(d).pop("n"), ["score.n", "required"]),
        (lambda d: d.update(schema_version="2.0"), ["schema_version", "2.0 is newer", "upgrade quantbench"]),
        (lambda d: d.update(schema_version="1.99"), ["schema_version", "1.99 is newer", "upgrade quantbench"]),
        (lambda d: d.update(schema_version="new"), ["schema_version", "expected a version like"]),
        (lambda d: d.update(kind="quantbench.report"), ["field 'kind'", "this is not a baseline"]),
    ],
)
def test_a_wrong_file_gets_one_clear_sentence(tmp_path: Path, change: Any, words: list[str]) -> None:
    data = json.loads(BASELINE.read_text())
    change(data)
    path = tmp_path / "seed_cnn.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput) as caught:
        read_record(path, BaselineFile, "baseline")
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '{"kind": 1}', "[" * 100_000])
def test_what_is_not_json_gets_one_clear_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"^[^\n]*$"):
        read_record(path, BaselineFile, "baseline")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(position=st.floats(0, 1), junk=st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_read_or_refused_never_a_traceback(tmp_path: Path, position: float, junk: bytes) -> None:
    content = BASELINE.read_bytes()
    at = int(position * len(content))
    path = tmp_path / "b.json"
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])
    try:
        read_record(path, BaselineFile, "baseline")
    except BadInput as error:
        assert "\n" not in str(error)
