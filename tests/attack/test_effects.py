"""The hostile files are hostile: loaded without quantbench, they do what they were made to do.

What the libraries themselves refuse by now, such as Keras 3 a vocabulary outside of the file, is not in this list.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import run_script

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
# Name -> what has to have happened: a canary outside that changed, the secret in a file, a call, loaded code.
KERAS = {
    "write_file_keras": "outside",
    "write_file_h5": "outside",
    "write_file_v1_keras": "outside",
    "print_to_file_keras": "outside",
    "rmtree_keras": "outside",
    "rmtree_v1_keras": "outside",
    "remove_keras": "outside",
    "rename_h5": "outside",
    "copy_keras": "leaks",
    "copy_h5": "leaks",
    "makedirs_keras": "outside",
    "record_writer_keras": "outside",
    "summary_writer_keras": "outside",
    "get_file_keras": "calls",
    "load_op_library_h5": "mapped",
    "library_that_is_the_model": "mapped",
    "slicing_write_file_keras": "outside",
    "cell_residual_h5": "outside",
    "module_as_model": "outside",
    "lambda_in_sequential_h5": "outside",
}
SAVED = {
    "saved_init_write": "outside",
    "saved_init_printed": "outside",
    "saved_init_copied": "leaks",
    "saved_write_file": "outside",
    "saved_print_to_file": "outside",
    "saved_save_checkpoint": "outside",
    "graph_write_in_function": "outside",
}
HDF5 = ("hdf5_external_storage", "hdf5_external_link", "hdf5_virtual_dataset")
LOADER = """
import json, os, sys, tempfile
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from driver import Listener, mapped
from hostile import BY_NAME
from hostile.room import Room, changes, leaks, picture
import h5py
import numpy as np
import tensorflow as tf
import tf_keras

def saved(path):
    loaded = tf.saved_model.load(path)
    loaded.signatures["serving_default"](tf.zeros([1, 4]))

def hdf5(path):
    with h5py.File(path) as file:
        kernel = file["model_weights/dense/dense/kernel:0"][()]
    return kernel.tobytes()[:6].decode("latin1")

listener, found = Listener(), {}
for number, name in enumerate(json.loads(Path(sys.argv[1], "names.json").read_text())):
    room = Room(Path(sys.argv[1]) / f"{number}", listener.port)
    room.furnish()
    os.environ["CANARY_RAN"] = str(room.ran)
    os.chdir(room.work)
    code = str(room.outside / "code")
    sys.path.append(code)
    path = BY_NAME[name].make(room)[1]
    before, given, calls = picture(room.outside), picture(room.root), len(listener.calls)
    words = ""
    try:
        if name.startswith("hdf5_"):
            words = hdf5(path)
        elif Path(path).is_dir():
            saved(path)
        else:
            model = tf_keras.models.load_model(path, compile=False)
            model(np.zeros((1, 4), np.float32))
    except Exception as error:
        print(name, type(error).__name__, str(error)[:300], file=sys.stderr)
    sys.path.remove(code)
    found[name] = {"outside": changes(before, picture(room.outside)), "leaks": leaks(room.root, given), "words": words,
                   "calls": listener.calls[calls:], "mapped": mapped(room.root)}
print("\\n" + json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def effects() -> dict[str, dict[str, Any]]:
    """What each file does to whoever loads it as the libraries' own documentation says."""
    with tempfile.TemporaryDirectory(prefix="qa-") as folder:
        loader = Path(folder) / "loader.py"
        loader.write_text(LOADER)
        (Path(folder) / "names.json").write_text(json.dumps([*KERAS, *SAVED, *HDF5]))
        places = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "bench")]
        done = run_script(loader, folder, *places, TF_CPP_MIN_LOG_LEVEL="3")
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


@pytest.mark.parametrize(("name", "effect"), [*KERAS.items(), *SAVED.items()])
def test_a_loader_without_quantbench_does_it(effects: dict[str, dict[str, Any]], name: str, effect: str) -> None:
    assert effects[name][effect], effects[name]


@pytest.mark.parametrize("name", HDF5)
def test_weights_are_a_private_file(effects: dict[str, dict[str, Any]], name: str) -> None:
    assert effects[name]["words"] == "S3CRET"
