"""Train a reference model over several seeds, print its score as mean and sd, and pin one seed's weights.

    python -m studies.pin_weights models/seed_cnn.py --seeds 5 [--pin 0]

The pinned seed is chosen before training (0), not after looking at the scores. The hash that is printed
goes into the model's file.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from quantbench.reference.datasets import file_sha256
from quantbench.reference.model import load_file
from quantbench.reference.training import score_keras, train_from_scratch

from studies import ground


def main() -> None:
    """Train, print, pin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file, e.g. models/seed_cnn.py")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pin", type=int, help="write this seed's weights to the model's weight file")
    arguments = parser.parse_args()
    (model,) = load_file(arguments.model)
    scores = []
    for seed in range(arguments.seeds):
        start = time.perf_counter()
        keras_model = train_from_scratch(model, seed)
        seconds = time.perf_counter() - start
        scores.append(score_keras(keras_model, model))
        print(f"{model.name} seed {seed}: {model.metric.name} {scores[-1]:.4f}, trained in {seconds:.0f} s", flush=True)
        if seed == arguments.pin:
            path = model.file.parent / model.weights
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = {
                f"{i:03d}_{w.name.split(':')[0].replace('/', '.')}": w.numpy()
                for i, w in enumerate(keras_model.weights)
            }
            np.savez_compressed(path, **arrays)
            print(f"{path}: {path.stat().st_size:,} bytes, sha256 {file_sha256(path)}", flush=True)
    print(
        f"{model.name}: {keras_model.count_params():,} parameters, {model.metric.name} "
        f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f} (sd, n = {len(scores)} seeds)"
    )


if __name__ == "__main__":
    ground.quietly(main)
