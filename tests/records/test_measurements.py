"""Names of measurements as people read them."""

import pytest
from quantbench.records import Kind
from quantbench.records.measurements import entry, shown


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpu_left_macs@Card", "multiplications left to the CPU by the GPU on Card"),
        ("gpu_examples@Card", "examples that a slow GPU answered on Card"),
        ("gpu_score@Card", "GPU score on Card"),
        ("gpu_score_change", "GPU score minus CPU score"),
        ("target_score@pi", "target score on pi"),
        ("output_distance@boxes", "output distance of boxes"),
    ],
)
def test_a_measurement_is_of_an_output_and_on_a_device(name: str, words: str) -> None:
    assert shown(name) == words


def test_how_many_examples_a_slow_device_answered_is_catalogued_and_differs_between_runs() -> None:
    found = entry("gpu_examples@Card")
    assert (found.name, found.kind, found.direction, found.noisy) == ("gpu_examples", Kind.GPU, "neither", True)


def test_scores_on_devices_are_catalogued_and_repeat() -> None:
    for name, kind in (("gpu_score", Kind.GPU), ("gpu_score_change@Card", Kind.GPU), ("target_score@pi", Kind.TARGET)):
        found = entry(name)
        assert (found.kind, found.direction, found.noisy) == (kind, "as the metric says", False)
