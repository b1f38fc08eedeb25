"""One model with its examples in every form: the same metric, range and examples come out, and `try` gives advice."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_quantbench
from PIL import Image
from quantbench.adopt import data, pack, understand
from quantbench.errors import BadInput
from quantbench.reference.datasets import Split
from quantbench.reference.model import load_models

from .test_understand import user  # noqa: F401  # a fixture

pytestmark = pytest.mark.slow

TF_DATA = """
import numpy as np, tensorflow as tf
with np.load({path!r}) as arrays:
    examples = tf.data.Dataset.from_tensor_slices((arrays["x"], arrays["y"])).batch(64)
"""
TFRECORD = """
import numpy as np, tensorflow as tf

def write():
    with np.load({path!r}) as arrays, tf.io.TFRecordWriter({records!r}) as writer:
        for x, y in zip(arrays["x"], arrays["y"]):
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[x.tobytes()]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(y)]))
            features = tf.train.Features(feature=dict(image=image, label=label))
            writer.write(tf.train.Example(features=features).SerializeToString())

def parse(record):
    wanted = dict(image=tf.io.FixedLenFeature([], tf.string), label=tf.io.FixedLenFeature([], tf.int64))
    found = tf.io.parse_single_example(record, wanted)
    return tf.reshape(tf.io.decode_raw(found["image"], tf.uint8), (28, 28)), found["label"]

def examples():
    write()
    return tf.data.TFRecordDataset({records!r}).map(parse)
"""


def shards(source: Path, folder: Path) -> Path:
    folder.mkdir()
    with np.load(source) as arrays:
        for name in arrays.files:
            for number, part in enumerate(np.array_split(arrays[name], 3)):
                np.save(folder / f"{name}_{number:03d}.npy", part)
    return folder


def by_class(source: Path, folder: Path) -> Path:
    with np.load(source) as arrays:
        for number, (x, y) in enumerate(zip(arrays["x"], arrays["y"], strict=True)):
            path = folder / str(y) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x).save(path)
    return folder


def written(source: Path, form: str, folder: Path) -> Path:
    """The examples of an .npz in another form."""
    if form == "npz":
        return source
    if form == "shards":
        return shards(source, folder / "shards")
    if form == "images":
        return by_class(source, folder / "images")
    code = TF_DATA if form == "tf.data" else TFRECORD
    (folder / "theirs.py").write_text(code.format(path=str(source), records=str(folder / "d.tfrecord")))
    return folder / "theirs.py:examples"


def examples(split: Split) -> list[tuple[bytes, int]]:
    return sorted(
        (np.asarray(split.x[place : place + 1]).tobytes(), int(split.y[place])) for place in range(len(split))
    )  # type: ignore[index]


FORMS = [(form, small) for form in ("npz", "shards", "images", "tf.data", "tfrecord") for small in (True, False)]


AT_ONCE = [("npz", True), ("shards", False), ("images", False), ("tf.data", False)]


def _each(form: str, small: bool) -> Any:
    # Each form once; the other size of it is written and read as that of another form is.
    marks = () if (form, small) in AT_ONCE else pytest.mark.nightly
    return pytest.param(form, small, id=f"{form}-{'one file' if small else 'folder'}", marks=marks)


@pytest.mark.parametrize(("form", "small"), [_each(*one) for one in FORMS])
def test_every_form_is_understood_alike(
    user: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    small: bool,
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)  # of a test before
    if not small:
        monkeypatch.setattr(data, "SMALL_BYTES", 0)
        monkeypatch.setattr(pack, "SMALL_BYTES", 0)
    given = understand.Given(str(user / "float.tflite"), written(user / "eval.npz", form, tmp_path))
    understood = understand.understand(given, "mine", tmp_path / "model")
    model = understood.model
    assert model.metric.name == "accuracy"
    assert model.prepare.how == "unit"  # type: ignore[attr-defined]
    with np.load(user / "eval.npz") as arrays:
        expected = sorted((x.tobytes(), int(y)) for x, y in zip(arrays["x"], arrays["y"], strict=True))
    assert examples(model.pack().test) == expected
    assert (model.file.parent / model.data).is_dir() != small
    assert model.classes == (tuple("0123456789") if form == "images" else ())
    assert "tensorflow" not in sys.modules  # it is loaded in processes of its own alone
    assert not (tmp_path / "model" / "data" / ".examples").exists()


# The command, as it is with data that is too large for one file, and with few variants to adopt.
LARGE_DATA = """
from quantbench.adopt import pack
from quantbench.variants import VARIANTS
pack.SMALL_BYTES = 0
for name in VARIANTS.keys() - {"float32", "ptq_dynamic_wi8_afp32"}:
    del VARIANTS[name]
"""


def run(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_quantbench(*arguments, store=store, first=LARGE_DATA)


@pytest.mark.parametrize("form", [pytest.param("shards", marks=pytest.mark.nightly), "images"])
def test_advice_on_data_that_stays_where_it_is(
    user: Path,  # noqa: F811
    store: Path,
    tmp_path: Path,
    form: str,
) -> None:
    source = written(user / "eval.npz", form, tmp_path)
    given = [str(user / "keras2.h5"), "--data", str(source), "--latency-budget", "0", "--max-drop", "6"]
    done = run(store, "try", *given, "--report-dir", str(tmp_path / "reports"))
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((tmp_path / "reports" / "latest" / "report.json").read_text())["cells"]
    assert {cell["variant"] for cell in cells if cell["measurements"]} == {"float32", "ptq_dynamic_wi8_afp32"}


@pytest.mark.nightly
def test_an_adopted_model_has_its_data_in_its_own_folder(
    user: Path,  # noqa: F811
    store: Path,
    tmp_path: Path,
) -> None:
    folder = shards(user / "eval.npz", tmp_path / "theirs")
    folders = ["--model-dir", str(tmp_path / "models"), "--baseline-dir", str(tmp_path / "baselines")]
    given = [str(user / "float.tflite"), "--name", "mine", "--data", str(folder), "--max-drop", "6", *folders]
    done = run(store, "adopt", *given, "--report-dir", str(tmp_path / "reports"))
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(folder)
    assert len(load_models(tmp_path / "models")["mine"].pack().test) == 400
    names = {path.name for path in (tmp_path / "models" / "data" / "mine").iterdir()}
    assert names == {"x_test-00000.npy", "x_test-00001.npy", "x_test-00002.npy", "y_test.npy", "shapes.json"}


def test_fewer_class_folders_than_the_model_has_classes(user: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = by_class(user / "eval.npz", tmp_path / "images")
    for image in (folder / "9").iterdir():
        image.unlink()
    (folder / "9").rmdir()
    given = understand.Given(str(user / "float.tflite"), folder)
    with pytest.raises(BadInput, match=r"holds 9 class folders, the model has 10 classes, .* write classes.txt"):
        understand.understand(given, "mine", tmp_path / "model")
