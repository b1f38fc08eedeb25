"""The lowest agreements of healthy artifacts, written by ``python -m studies.gpu_null --write``, which explains them.

By kind of device, what is compared and arithmetic: agreement, of how many examples, artifacts and models.
"""

from quantbench.records import Compared

LOWEST: dict[tuple[str, Compared, str], tuple[float, int, int, int]] = {
    ("software", "detections", "float"): (1.0, 200, 12, 1),
    ("software", "detections", "hybrid"): (0.96875, 200, 6, 1),
    ("software", "detections", "integer"): (1.0, 200, 19, 1),
    ("software", "examples", "float"): (1.0, 200, 86, 8),
    ("software", "examples", "hybrid"): (0.985, 200, 78, 7),
    ("software", "examples", "integer"): (0.965, 200, 130, 8),
    ("software", "values", "float"): (1.0, 200, 12, 1),
    ("software", "values", "hybrid"): (0.998149414, 200, 6, 1),
    ("software", "values", "integer"): (0.999316406, 200, 17, 1),
}
