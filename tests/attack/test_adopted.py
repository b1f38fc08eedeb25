"""An adopted model whose saved file somebody has replaced since: `run` does none of what that file is after.

The replaced file has another hash than the model's file states; where that was changed as well, as by somebody who
accepts whatever is in the folder, each process that loads the model checks it before.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import run_quantbench, surroundings
from dask_processes import DaskProcesses
from driver import Listener
from hostile import BY_NAME
from hostile.room import SECRET, Room, changes, leaks, picture
from quantbench.core.options import RunOptions
from quantbench.engine.session import Session
from quantbench.errors import BadInput, Exit
from quantbench.records import Report, read_record
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import load_models

# What each is in a folder of models, and what a cell says of it.
REPLACED = {
    "write_file_keras": ("keras2", "calls tf.io.write_file"),
    "rmtree_h5": ("keras2", "calls tf.io.gfile.rmtree"),
    "get_file_keras": ("keras2", "calls tf.keras.utils.get_file"),
    "lambda_in_sequential_h5": ("keras2", "is a Lambda"),
    "cell_residual_h5": ("keras2", "residual_fn"),
    "module_in_h5": ("keras2", "of the class 'Thing'"),
    "library_that_is_the_model": ("keras2", "load_op_library"),
    "keras3_lambda": ("keras3", "is a Lambda"),
    "keras3_module_layer": ("keras3", "of the class 'Thing'"),
    "hdf5_external_storage": ("keras2", "has its bytes in another file"),
    "hdf5_external_link_in_keras3": ("keras3", "a link into another file"),
    "hdf5_endless_names": ("keras2", "is not a whole HDF5 file"),
    "archive_bomb_of_weights_keras3": ("keras3", "unpack"),
    "saved_write_file": ("saved_model", "WriteFile"),
    "saved_init_write": ("saved_model", "WriteFile"),
    "graph_load_library": ("saved_model", "LoadLibrary"),
    "tflite_custom_operator": ("tflite", "SomebodysOperator"),
    "tflite_flex_write_file": ("tflite", "LiteRT cannot run it"),
}
# These have no hash at all: nobody reads them.
UNREADABLE = {
    "fifo_as_model": "keras2",
    "private_as_model": "keras2",
    "zeros_as_model": "keras2",
    "folder_private_link": "saved_model",
    "folder_fifo": "saved_model",
    "folder_link_to_zeros": "saved_model",
}
DECLARED = '''"""{name}: adopted by quantbench."""

from quantbench import Floor, ReferenceModel, Scaled, by_name

MODEL = ReferenceModel(
    name={name!r},
    description="adopted from m",
    form={form!r},
    weights="weights/{file}",
    weights_sha256={weights!r},
    data="data/d.npz",
    data_sha256={data!r},
    metric=by_name("accuracy"),
    prepare=Scaled("as_given", {{"x": "float32"}}),
    floors={{"default": Floor(0.5, "the limit given when the model was adopted")}},
)
'''


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


class Adopted:
    """A folder of adopted models, each of which has a room of canaries of its own."""

    def __init__(self, root: Path, listener: Listener) -> None:
        self.root, self.models, self._listener = root, root / "models", listener
        self.rooms: dict[str, Room] = {}
        self._before: dict[str, dict[str, str]] = {}
        for name in ("weights", "data"):
            (self.models / name).mkdir(parents=True)
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(20, 4)).astype(np.float32), np.arange(20) % 2
        np.savez(self.models / "data" / "d.npz", x_test=x, y_test=y, x_calibration=x, y_calibration=y)

    def replace(self, name: str, form: str, states_its_hash: bool) -> None:
        """Put a hostile file where the model's own was."""
        self.rooms[name] = room = Room(self.root / name, self._listener.port)
        room.furnish()
        before = Path.cwd()
        os.chdir(room.work)
        try:
            path = Path(BY_NAME[name].make(room)[1])
        finally:
            os.chdir(before)
        kept = self.models / "weights" / f"{name}{path.suffix}"
        if room.given not in path.parents:  # a file or a device of others
            kept.symlink_to(path)
        else:
            path.rename(kept)
        known = file_sha256(kept) if states_its_hash else hashlib.sha256(b"as adopted").hexdigest()
        data = file_sha256(self.models / "data" / "d.npz")
        text = DECLARED.format(name=name, form=form, file=kept.name, weights=known, data=data)
        (self.models / f"{name}.py").write_text(text)
        self._before[name] = picture(room.outside)

    def arguments(self) -> list[str]:
        """Of a run of all of them."""
        folders = ["--model-dir", str(self.models), "--baseline-dir", str(self.root / "baselines")]
        cells = ["--variants", "float32", "--no-latency", "--no-gpu"]
        return ["run", *folders, *cells, "--report-dir", str(self.root / "reports")]

    def surroundings(self) -> dict[str, str]:
        """What a hostile module would be imported from, and mark."""
        usual = surroundings()["PYTHONPATH"]
        return {"PYTHONPATH": os.pathsep.join([usual, *map(str, self.canaries())]), "CANARY_RAN": self.ran()}

    def canaries(self) -> list[Path]:
        """Folders that a hostile module would be imported from."""
        return [room.outside / "code" for room in self.rooms.values()]

    def ran(self) -> str:
        """What it would mark."""
        return str(next(iter(self.rooms.values())).ran)

    def assert_untouched(self) -> None:
        """Nothing was run, written, read, deleted or fetched."""
        for name, room in self.rooms.items():
            assert changes(self._before[name], picture(room.outside)) == [], name
        elsewhere = {name for name in picture(self.root) if "/outside/" in name}
        assert leaks(self.root, dict.fromkeys(elsewhere, "")) == []
        assert self._listener.calls == []


@pytest.fixture
def adopted(tmp_path: Path, listener: Listener) -> Iterator[Adopted]:
    """An empty folder of adopted models."""
    made = Adopted(tmp_path, listener)
    yield made
    load_models.cache_clear()


SMALL = [name for name in REPLACED if not name.startswith(("saved_", "graph_", "folder_"))]  # made without TensorFlow


@pytest.mark.parametrize("name", [*SMALL, *(name for name in UNREADABLE if "folder" not in name)])
def test_a_replaced_file_is_refused_before_anything_is_begun(name: str, adopted: Adopted) -> None:
    form = REPLACED[name][0] if name in REPLACED else UNREADABLE[name]
    adopted.replace(name, form, states_its_hash=False)
    with pytest.raises(BadInput) as caught:
        Session(RunOptions(models=name, model_dir=adopted.models, report_dir=adopted.root / "reports"))
    assert "weights has sha256" in str(caught.value) or "only regular files are read" in str(caught.value)
    assert "\n" not in str(caught.value)
    adopted.assert_untouched()
    assert not (adopted.root / "reports").exists()


@pytest.mark.slow
def test_a_replaced_saved_model_is_refused_too(adopted: Adopted) -> None:
    for name in [name for name in UNREADABLE if "folder" in name]:
        adopted.replace(name, UNREADABLE[name], states_its_hash=False)
        done = run_quantbench(*adopted.arguments(), "--models", name, store=adopted.root / "store")
        output = done.stdout + done.stderr
        assert done.returncode == Exit.BAD_INPUT, output
        assert "only regular files are read" in output
        assert "Traceback" not in output
    adopted.assert_untouched()


def _each_cell_refused(adopted: Adopted, done: "subprocess.CompletedProcess[str]") -> None:
    output = done.stdout + done.stderr
    assert done.returncode == Exit.NOT_MEASURED, output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert SECRET not in output
    report = read_record(adopted.root / "reports" / "latest" / "report.json", Report, "report")
    assert (report.state, report.exit_status) == ("complete", Exit.NOT_MEASURED)
    assert {cell.model for cell in report.cells} == set(adopted.rooms)
    told = {cell.model: cell.failure.reason if cell.failure else "nothing" for cell in report.cells}
    assert {name: words for name, words in told.items() if REPLACED[name][1] not in words or "\n" in words} == {}
    assert not any(cell.measurements for cell in report.cells)
    adopted.assert_untouched()


# One of each form that code comes in, and one of each reader that is not to be trusted.
AT_ONCE = ("rmtree_h5", "keras3_lambda", "hdf5_external_storage", "saved_init_write", "tflite_flex_write_file")


@pytest.mark.slow
@pytest.mark.parametrize("names", [AT_ONCE, pytest.param((*REPLACED,), marks=pytest.mark.nightly)], ids=["some", "all"])
def test_whose_hash_was_changed_too_costs_its_own_cells(adopted: Adopted, names: tuple[str, ...]) -> None:
    for name in names:
        adopted.replace(name, REPLACED[name][0], states_its_hash=True)
    store, path = adopted.root / "store", adopted.canaries()
    done = run_quantbench(*adopted.arguments(), store=store, path=path, CANARY_RAN=adopted.ran())
    _each_cell_refused(adopted, done)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_cluster_does_none_of_it_either(adopted: Adopted) -> None:
    for name in ("rmtree_h5", "keras3_module_layer", "saved_init_write", "tflite_custom_operator"):
        adopted.replace(name, REPLACED[name][0], states_its_hash=True)
    (adopted.root / "dask").mkdir()
    dask = DaskProcesses(adopted.root / "dask")
    try:
        dask.worker(**adopted.surroundings())
        dask.wait_for(1)
        arguments = [*adopted.arguments(), "--cluster", dask.address]
        done = run_quantbench(*arguments, store=adopted.root / "store", **adopted.surroundings())
    finally:
        dask.stop()
    _each_cell_refused(adopted, done)
