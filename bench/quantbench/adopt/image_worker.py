"""Decode images into one ``.npy`` file, in an interpreter behind walls that :mod:`quantbench.adopt.images` starts."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from quantbench import files
from quantbench.core.arrays import Array
from quantbench.core.worker import Job, worker_main
from quantbench.errors import BadInput
from quantbench.reference.npy_folder import Writer

# Decoders of raster formats alone: others start programs (EPS), or nobody has photographs in them.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_FINER = ("I", "F")  # modes of more than 8 bits a value begin so


def decode(path: Path, shown: Path, job: Job, inside: Path) -> Array:
    """Decode one image to what the model takes, 0 to 255. Raises BadInput, one sentence."""
    from PIL import Image, UnidentifiedImageError

    try:
        with files.reading(shown, "image"):
            file = files.open_regular(path, inside=inside)
        with file, Image.open(file, formats=_FORMATS) as image:
            if image.mode.startswith(_FINER):
                raise BadInput(
                    f"{shown}: has more than 8 bits a channel ({image.mode}); save it with 8, or give the values in "
                    "a .npy file"
                )
            wanted = image.convert(job["mode"])
            if wanted.size != (job["width"], job["height"]):
                wanted = wanted.resize((job["width"], job["height"]), Image.Resampling.BILINEAR)
    except BadInput:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadInput(
            f"{shown}: has more than {Image.MAX_IMAGE_PIXELS:,} pixels, which are not decoded; make it smaller"
        ) from None
    except UnidentifiedImageError:
        raise BadInput(
            f"{shown}: cannot be read as an image: it is none of {', '.join(_FORMATS)}; replace or remove it"
        ) from None
    except Exception as error:  # a damaged image can fail in many ways
        words = " ".join(str(error).split())[:200].replace(str(path), str(shown))
        raise BadInput(f"{shown}: cannot be read as an image ({words}); replace or remove it") from None
    values = np.asarray(wanted, dtype=np.uint8)
    if job["channels first"]:
        values = np.moveaxis(values.reshape(*values.shape[:2], -1), -1, 0)
    return values.reshape(job["shape"])


def run(job: Job) -> dict[str, Any]:
    """Decode all images of a job, one at a time."""
    warnings.simplefilter("error")  # Pillow only warns of an image that is a bomb but not a large one
    inside = Path(job["folder"])
    try:
        with Writer(Path(job["target"]), np.uint8, tuple(job["shape"])) as writer:
            for name in job["names"]:
                writer.append(decode(inside / name, Path(job["shown"]) / name, job, inside)[None])
    except BadInput as error:
        return {"refused": str(error)}
    return {"images": writer.count}


if __name__ == "__main__":
    worker_main(run)
