"""Make what README and docs show of the program again: two outputs, and the picture of a red report.

    python -m studies.docs_samples              # runs both, and writes their output into the pages
    python -m studies.docs_samples --only try   # one of them: try, red

*try* quantizes seed_cnn, saved by Keras 3, with 2,000 test examples. *red* gates seed_cnn with a planted mistake: one
variant is calibrated on images that are half as bright, after a night without the mistake. Its page is opened in the
system's Chromium (extra ``tests``) and becomes docs/assets/red_report.png. The first starts from the user's cache, the
second from nothing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from quantbench.core.arrays import rows
from quantbench.core.options import CHECKOUT, PACKAGE
from quantbench.errors import BadInput
from quantbench.reference.model import load_models

from studies._common import chromium

PAGES = ("README.md", "docs/*.md")
PICTURE = Path("docs/assets/red_report.png")
MODEL = "seed_cnn"
EXAMPLES, CALIBRATION = 2000, 200
MAX_DROP = "0.5pp"
PLANTED = "ptq_static_wi8_ai8"
RED_VARIANTS = f"ptq_float16,ptq_dynamic_wi8_afp32,{PLANTED},aeq_static_wi8_ai8"

BRIGHTNESS = 0.5  # of the planted calibration images

# What the model file of the red run ends with. The healthy variant is looked up where it is declared, for a process may
# load the file several times.
PLANT = f"""

import dataclasses

from quantbench.variants import VARIANTS, ptq


class _Darker:
    \"\"\"The workbench, with calibration images that are darker.\"\"\"

    def __init__(self, bench, factor):
        self._bench, self._factor = bench, factor

    def __getattr__(self, name):
        return getattr(self._bench, name)

    def calibration(self):
        return (self._factor * image for image in self._bench.calibration())


[_healthy] = [each for each in ptq.VARIANTS if each.name == "{PLANTED}"]


def _planted(bench):
    return _healthy.make(_Darker(bench, {BRIGHTNESS}))


VARIANTS["{PLANTED}"] = dataclasses.replace(_healthy, make=_planted)
"""

# The picture: the top of the page, in the light theme, at twice the density.
WIDTH, HEIGHT, DENSITY, COLOURS = 1100, 760, 2, 64

# Progress, which differs from time to time, and pytest's own lines: left out of the pages.
_PROGRESS = re.compile(r"loading |cells: |computed: |\[\d+/\d+\]|making and scoring |note: .* the shortlist")
_LINE = 116

_MAKE_USER_FILES = """
import sys
import keras
import numpy as np

weights = np.load(sys.argv[1])
model = keras.Sequential([
    keras.Input((28, 28, 1)),
    keras.layers.Conv2D(32, (3, 3), activation="relu"),
    keras.layers.MaxPooling2D((2, 2)),
    keras.layers.Flatten(),
    keras.layers.Dense(10, activation="softmax"),
], name="my")
model.set_weights([weights[name] for name in weights.files])
model.save("my.keras")
"""


def user_files(folder: Path) -> None:
    """Write a Keras 3 model, test examples with labels and calibration examples, as a user has them."""
    model = load_models(CHECKOUT / "models")[MODEL]
    pack = model.pack()
    images, labels = rows(pack.test.x, slice(EXAMPLES)), np.asarray(pack.test.y)[:EXAMPLES]
    assert pack.train is not None, "the data of this model have training examples"
    np.savez(folder / "eval.npz", x=np.asarray(images), y=labels)
    np.savez(folder / "training_inputs.npz", x=np.asarray(rows(pack.train.x, slice(CALIBRATION))))
    weights = CHECKOUT / "models" / str(model.weights)
    make = [sys.executable, "-c", _MAKE_USER_FILES, str(weights)]
    subprocess.run(make, cwd=folder, check=True, capture_output=True)


def tried(folder: Path) -> str:
    """Run ``quantbench try`` on the user's files; return the command and what it prints."""
    user_files(folder)
    data = ["--data", "eval.npz", "--calibration", "training_inputs.npz"]
    return _printed(folder, ["try", "my.keras", *data, "--max-drop", MAX_DROP], 0)


def red(folder: Path) -> str:
    """Run the gate on the planted model, after a green night; return the command and what it prints.

    The run is in reports/latest.
    """
    for name in (f"weights/{MODEL}.npz", "data/fashion_mnist.npz", "data/LICENSE.fashion_mnist"):
        (folder / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / "models" / name, folder / "models" / name)
    model = (CHECKOUT / "models" / f"{MODEL}.py").read_text(encoding="utf-8")
    (folder / "models" / f"{MODEL}.py").write_text(model, encoding="utf-8")
    (folder / "baselines").mkdir()
    for path in (CHECKOUT / "baselines").glob(f"{MODEL}.*"):
        shutil.copyfile(path, folder / "baselines" / path.name)
    own = ["--model-dir", "models", "--baseline-dir", "baselines"]
    # A cache of its own: in another one the accepted artifact may lie, by which the cause is told in other words.
    cache = {"QUANTBENCH_CACHE": str(folder / "cache")}
    _printed(folder, ["run", *own, "--variants", PLANTED, "--no-latency", "--no-instructions", "--no-gpu"], 0, cache)
    (folder / "models" / f"{MODEL}.py").write_text(model + PLANT, encoding="utf-8")
    return _printed(
        folder, ["run", *own, "--variants", RED_VARIANTS, "--no-latency", "--no-instructions", "--no-gpu"], 1, cache
    )


def _printed(folder: Path, command: list[str], status: int, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """Run a command of ours; return it and its standard output. Raises BadInput at another exit status."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent) + os.pathsep + os.environ.get("PYTHONPATH", "")}
    environment |= {"COLUMNS": "120", "NO_COLOR": "1", "CI": "", **more}
    called = [sys.executable, "-m", "quantbench", *command]
    done = subprocess.run(called, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != status:
        raise BadInput(f"quantbench {command[0]} ended with {done.returncode}, not {status}: {done.stderr[-2000:]}")
    return f"$ quantbench {' '.join(command)}\n{done.stdout}"


def shortened(output: str) -> str:
    """Return an output without progress and pytest's own lines, and with long lines folded; tables stay as they are."""
    command, *lines = output.strip().splitlines()
    start = next((i + 1 for i, line in enumerate(lines) if re.match(r"=+ quantbench =+$", line)), 0)
    end = next((i for i, line in enumerate(lines) if re.match(r"=+ short test summary", line)), len(lines))
    kept = [line for line in lines[start:end] if not _PROGRESS.match(line.strip()) and not line.startswith("===")]
    return "\n".join(_folded(line) for line in [command, *kept])


def _folded(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())] + "    "
    table = re.search(r"\S  +\S.*\S  +\S", line)
    if len(line) <= _LINE or table:
        return line
    return textwrap.fill(line, _LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def photograph(page: Path, picture: Path) -> None:
    """Write the top of a report's page as a PNG. Raises BadInput where no browser is installed."""
    from PIL import Image

    with chromium() as browser:
        if browser is None:
            raise BadInput("no Chromium on the path, or no playwright (extra tests); install both for the picture")
        view = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=DENSITY)
        view.goto(page.as_uri())
        picture.parent.mkdir(parents=True, exist_ok=True)
        view.screenshot(path=str(picture))
    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLOURS).save(picture, optimize=True)


def end_of(output: str) -> str:
    """Return the command of a shortened output, and the rest from the header of its table on."""
    command, *lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("variant  "))
    return "\n".join([command, "…", *lines[start:]])


def paste(name: str, shown: str) -> list[Path]:
    """Put an output between its markers in every page that has them; return the pages that have."""
    block = re.compile(rf"(<!-- output: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = "\n".join(f"    {line}".rstrip() for line in shown.splitlines())
    pages = []
    for pattern in PAGES:
        for page in sorted(CHECKOUT.glob(pattern)):
            before = page.read_text(encoding="utf-8")
            after = block.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", before)
            if block.search(before):
                pages.append(page)
                page.write_text(after, encoding="utf-8")
    return pages


def main() -> None:
    """Run the samples, and write them into the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["try", "red"])
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if only != "red":
            output = shortened(tried(folder))
            print("try:", *paste("try", output), *paste("end of try", end_of(output)))
        if only != "try":
            print("red:", *paste("red", shortened(red(folder))))
            photograph(folder / "reports" / "latest" / "report.html", CHECKOUT / PICTURE)


if __name__ == "__main__":
    main()
