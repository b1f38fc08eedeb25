"""Which check a measurement belongs to, by how its name begins; whatever is not here tells of the answers."""

from quantbench.records import Kind

_BEGINNINGS = {
    Kind.SIZE: ("size", "gzip_size"),
    Kind.MEMORY: ("arena", "peak_", "model_memory", "memory_"),
    Kind.GPU: ("gpu_",),
    Kind.LATENCY: (
        "latency",
        "control_to_yardstick",
        "threads_at_work",
        "disturbed",
        "throughput",
        "timing_cost",
        "start_up_",
        "batch_",
        "keras_",
    ),
}


def kind_of(measurement: str) -> Kind:
    """The kind of check that a measurement is shown with."""
    return next((kind for kind, names in _BEGINNINGS.items() if measurement.startswith(names)), Kind.ACCURACY)
