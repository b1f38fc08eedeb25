"""Make ``spoken_words.npz``: words spoken by a synthesizer, as log-mel energies of one second each.

    apt-get install espeak-ng
    python models/data/make_spoken_words.py

**Synthetic speech**: nobody spoke these words, and a score here says nothing of people's voices. Words are spoken by
espeak-ng in six accents of English, by voices that are either in the training or in the test split, at random speed and
pitch, placed at random in a second of white or pink noise at 5 to 25 dB. Classes: 0 anything else (28 other words, and
noise alone), 1 yes, 2 no, 3 stop, 4 go. ``slice_said`` divides the test split: 0 noise, 1 another word, 2 a keyword.

Features: 32 frames of 46 ms, 31 ms apart, of 20 mel bands from 100 Hz to 8 kHz; 16 steps from -80 to 0 dB of the
loudest band, so that the file stays small.

Source: espeak-ng 1.51, whose licence does not cover what it says; see LICENSE.spoken_words beside this file. The
synthesizer and the generator are deterministic; another version of espeak-ng speaks differently.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import wave
from io import BytesIO
from pathlib import Path

import numpy as np

KEYWORDS = ("yes", "no", "stop", "go")
OTHERS = (
    *("bed", "bird", "cat", "dog", "house", "happy", "tree", "left", "right", "up", "down", "on", "off", "wow"),
    *(
        "yet",
        "guess",
        "nose",
        "note",
        "top",
        "step",
        "goat",
        "cold",
        "one",
        "three",
        "five",
        "seven",
        "learn",
        "visual",
    ),
)
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbcwmd")
VOICES = {
    "train": (
        "m1",
        "m2",
        "m3",
        "m4",
        "m5",
        "f1",
        "f2",
        "f3",
        "klatt",
        "klatt2",
        "Andy",
        "Annie",
        "Lee",
        "Gene",
        "Mario",
    ),
    "test": ("m6", "m7", "m8", "f4", "f5", "klatt3", "Alicia", "Denis"),
}
EXAMPLES = {"train": 3_000, "test": 1_000}
SEEDS = {"train": 0, "test": 1}
RATE = 22_050  # samples per second, as espeak-ng writes them
FRAMES, FRAME, STEP = 32, 1024, 682
BANDS, LOWEST, HIGHEST = 20, 100.0, 8_000.0  # Hz
NOISE, OTHER, KEYWORD = 0, 1, 2
SHARES = (0.1, 0.3, 0.6)  # of noise alone, other words and keywords


def spoken(word: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """Samples in [-1, 1], without the silence before and behind."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), word]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(BytesIO(said)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            sys.exit(f"espeak-ng writes {file.getparams()}; expected {RATE} samples per second, one channel, 16 bits")
        samples = np.frombuffer(said[44:], "<i2").astype(np.float64) / 2**15  # the header tells no length on a pipe
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1] + 1]


def noise(generator: np.random.Generator) -> np.ndarray:
    """One second of white or pink noise of unit power."""
    samples = generator.standard_normal(RATE)
    if generator.random() < 0.5:
        spectrum = np.fft.rfft(samples)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[0] = 0
        samples = np.fft.irfft(spectrum, RATE)
    return np.asarray(samples / np.sqrt(np.mean(samples**2)))


def mixed(speech: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """One second of noise with the speech somewhere in it; what is longer is cut."""
    canvas = noise(generator) * 0.02
    if speech is not None:
        speech = speech[:RATE]
        ratio = 10 ** (generator.uniform(5, 25) / 20)
        start = int(generator.integers(0, RATE - len(speech) + 1))
        canvas[start : start + len(speech)] += 0.02 * ratio * speech / np.sqrt(np.mean(speech**2))
    return canvas * 10 ** (generator.uniform(-10, 10) / 20)


def filters() -> np.ndarray:
    """Triangles, equally wide in mel, over the bins of a frame's spectrum, shape (bins, BANDS)."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hertz / 700)

    corners = np.linspace(*mel(np.array([LOWEST, HIGHEST])), BANDS + 2)
    bins = mel(np.fft.rfftfreq(FRAME, 1 / RATE))[:, None]
    up = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    down = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return np.maximum(0, np.minimum(up, down))


def features(samples: np.ndarray) -> np.ndarray:
    """Log-mel energies, shape (FRAMES, BANDS), uint8."""
    starts = np.arange(FRAMES)[:, None] * STEP
    padded = np.pad(samples, (0, max(0, int(starts.max()) + FRAME - len(samples))))
    power = np.abs(np.fft.rfft(padded[starts + np.arange(FRAME)] * np.hanning(FRAME), axis=1)) ** 2
    decibels = 10 * np.log10(power @ filters() + 1e-9)
    scaled = np.clip((decibels - decibels.max() + 80) / 80 * 255, 0, 255)
    return np.rint(scaled).astype(np.uint8) & 0xF0


def example(split: str, generator: np.random.Generator) -> tuple[np.ndarray, int, int]:
    """Features, class, and what was said."""
    said = int(generator.choice(3, p=SHARES))
    if said == NOISE:
        return features(mixed(None, generator)), 0, said
    words = KEYWORDS if said == KEYWORD else OTHERS
    which = int(generator.integers(len(words)))
    voice = f"{generator.choice(ACCENTS)}+{generator.choice(VOICES[split])}"
    speech = spoken(words[which], voice, int(generator.integers(120, 221)), int(generator.integers(20, 81)))
    return features(mixed(speech, generator)), which + 1 if said == KEYWORD else 0, said


def main() -> None:
    """Write the pack and print its own hash."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("spoken_words.npz"))
    arguments = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is not installed: apt-get install espeak-ng")
    arrays = {}
    for split, count in EXAMPLES.items():
        generator = np.random.Generator(np.random.PCG64(SEEDS[split]))
        made = [example(split, generator) for _ in range(count)]
        arrays[f"x_{split}"] = np.stack([each[0] for each in made])
        arrays[f"y_{split}"] = np.array([each[1] for each in made], dtype=np.uint8)
        if split == "test":
            arrays["y_test.alarms"] = arrays["y_test"]  # scored a second time, by what is heard where no keyword is
            arrays["slice_said"] = np.array([each[2] for each in made], dtype=np.uint8)
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")
    print(f"sha256 {hashlib.sha256(arguments.out.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
