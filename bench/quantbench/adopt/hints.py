"""Say what to do about data in a form that is not read: for each kind of file the line of Python that converts it."""

from pathlib import Path
from typing import Any

FORMS = (
    "an .npz with x and y, a folder of .npy files (x.npy, y.npy, or shards x_000.npy, x_001.npy, ...), a folder of "
    "images with one folder a class, or file.py:NAME, a Python iterable of (x, y)"
)
TOKENISE = (
    "turn text into whole numbers as in the training (the token numbers of its tokenizer or TextVectorization), and "
    "give those"
)

_TABLE = "x=t.drop(columns='LABEL').to_numpy('float32'), y=t['LABEL'].to_numpy()"
_PANDAS = "import numpy as np, pandas as pd; t = pd.{read}; np.savez({target!r}, " + _TABLE + ")"
_TEXT = (
    "import numpy as np; t = np.genfromtxt({source!r}, delimiter={by!r}, names=True); np.savez({target!r}, "
    "x=np.stack([t[n] for n in t.dtype.names if n != 'LABEL'], 1).astype('float32'), y=t['LABEL'])"
)
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_TABLE_WORDS = "replace LABEL by the name of the column of labels"
_READ_TABLE = {
    ".txt": "read_csv({source!r}, sep=None, engine='python')",
    ".parquet": "read_parquet({source!r})",
    ".pq": "read_parquet({source!r})",
    ".feather": "read_feather({source!r})",
    ".arrow": "read_feather({source!r})",
    ".json": "read_json({source!r})",
    ".jsonl": "read_json({source!r}, lines=True)",
    ".xlsx": "read_excel({source!r})",
    ".pkl": "read_pickle({source!r})",
    ".pickle": "read_pickle({source!r})",
}
_OTHERS = {
    ".npy": "import numpy as np; np.savez({target!r}, x=np.load({source!r}), y=np.load('LABELS.npy'))",
    ".h5": "import numpy as np, h5py; f = h5py.File({source!r}); np.savez({target!r}, x=f['X'][:], y=f['Y'][:])",
    ".mat": "import numpy as np, scipy.io; m = scipy.io.loadmat({source!r}); np.savez({target!r}, x=m['X'], y=m['Y'])",
    ".pt": "import numpy as np, torch; x, y = torch.load({source!r}); np.savez({target!r}, x=x.numpy(), y=y.numpy())",
}
_OTHER_WORDS = {
    ".npy": "replace LABELS.npy by the file of labels, or put both into a folder as x.npy and y.npy",
    ".h5": "replace X and Y by the names of the data sets in it",
    ".mat": "replace X and Y by the names of the variables in it",
    ".pt": "where it holds a pair of tensors",
}
_SAME = {".hdf5": ".h5", ".hdf": ".h5", ".pth": ".pt"}
_RECORDS = (".tfrecord", ".tfrecords", ".tfrec", ".record")
_RECORDS_WORDS = (
    "write a Python file with `examples = tf.data.TFRecordDataset({source!r}).map(parse)`, where parse returns (x, y), "
    "and give file.py:examples"
)
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z")


def of_file(path: Path, option: str) -> str:
    """Return a sentence for a file of another form than ``.npz``, by its name; empty where it may be one."""
    suffix = _SAME.get(path.suffix.lower(), path.suffix.lower())
    names = {"source": str(path), "target": f"{path.stem}.npz"}
    if suffix in _DELIMITERS:
        line, words = _TEXT.format(by=_DELIMITERS[suffix], **names), _TABLE_WORDS
    elif suffix in _READ_TABLE:
        line, words = _PANDAS.format(read=_READ_TABLE[suffix].format(**names), **names), _TABLE_WORDS
    elif suffix in _OTHERS:
        line, words = _OTHERS[suffix].format(**names), _OTHER_WORDS[suffix]
    elif suffix in _RECORDS or ".tfrecord" in path.name.lower():
        return f"{path}: TFRecord files are read by your own code: {_RECORDS_WORDS.format(**names)}"
    elif suffix in _ARCHIVES:
        return f"{path}: is an archive; unpack it, and give the folder; {option} takes {FORMS}"
    else:
        return ""
    return (
        f"{path}: {option} does not take {suffix} files; convert it by this line of Python, then give "
        f"{names['target']}: {line}  ({words})"
    )


def of_folder(path: Path) -> str:
    """Return a sentence for a folder that is neither ``.npy`` files nor images."""
    names = sorted(entry.name for entry in path.iterdir())
    if any(".tfrecord" in name.lower() for name in names):
        pattern = f"tf.data.Dataset.list_files({str(path / '*tfrecord*')!r}, shuffle=False)"
        return (
            f"{path}: TFRecord files are read by your own code: write a Python file with `examples = "
            f"tf.data.TFRecordDataset({pattern}).map(parse)`, where parse returns (x, y), and give file.py:examples"
        )
    if "dataset_spec.pb" in names:
        return (
            f"{path}: is a saved tf.data data set; write a Python file with `examples = "
            f"tf.data.Dataset.load({str(path)!r})`, and give file.py:examples"
        )
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"
    return f"{path}: the folder holds {shown}; expected {FORMS}"


def of_text_input(name: str, dtype: Any) -> str:
    """Return a sentence for a model that takes text, which no runtime of quantized models can."""
    return (
        f"input {name!r} of the model takes text ({dtype}), which cannot be quantized; cut the model behind its text "
        f"layer, keras.Model(model.get_layer(NAME).output, model.outputs), and {TOKENISE}"
    )
