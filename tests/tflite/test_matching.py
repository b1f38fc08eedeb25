"""Operators of two files are matched by their place in the graph: a new name, or a cast in between, is no change."""

import numpy as np
import pytest
from made_up_graphs import Made, joined, layers, loop
from quantbench.records import Change, FileChanges
from quantbench.report.file_changes import section, told
from quantbench.tflite import changes, graph, matching
from quantbench.tflite.matching import Traits, aligned

OLD = layers()


def match(old: bytes, new: bytes) -> matching.Matching:
    return matching.match(*(graph.read(one).main() for one in (old, new)))


def kinds(found: list[Change]) -> list[tuple[str, str]]:
    return sorted({(one.what, one.old or one.new) for one in found})


def dense(several: bool, ends: int = 2) -> bytes:
    """A dense layer between activations: one operator, or an unpacked product, a scale and a sum."""
    made = Made()
    last = first = made.tensor("x", (1, 4))

    def step(kind: str, *more: int) -> None:
        nonlocal last
        after = made.tensor(f"{kind}{len(made.main.tensors)}", (1, 4))
        made.operator(kind, (last, *more), (after,))
        last = after

    for _ in range(ends):
        step("TANH")
    kernel = made.constant("kernel", np.ones((4, 4), np.int8 if several else np.float32))
    if several:
        unpacked = made.tensor("unpacked", (4, 4))
        made.operator("CAST", (kernel,), (unpacked,))
        step("BATCH_MATMUL", unpacked)
        step("MUL", made.constant("scale", np.ones((1,), np.float32)))
        step("ADD", made.constant("bias", np.ones((4,), np.float32)))
    else:
        step("FULLY_CONNECTED", kernel)
    for _ in range(ends):
        step("TANH")
    return made.file((first,), (last,))


def test_a_layer_that_one_model_computes_in_several_operators_is_one_step() -> None:
    found = match(dense(several=False), dense(several=True))
    assert found.pairs == ((0, 0), (1, 1), (2, 5), (3, 6), (4, 7))  # the sum has the dense layer's output
    assert (found.only_first, found.only_second) == ((), (3, 4))  # and the cast of constants is no step
    assert found.share == 1.0


def test_what_lies_between_few_partners_is_not_taken_for_one_step() -> None:
    found = match(dense(several=False, ends=0), dense(several=True, ends=0))
    assert (found.pairs, found.share) == ((), 0.0)


def test_other_names_alone_are_no_change() -> None:
    renamed = layers(prefix="StatefulPartitionedCall/functional_7/output")
    assert match(OLD, renamed).pairs == ((0, 0), (1, 1), (2, 2))
    assert changes.between(OLD, renamed) == []


def test_a_cast_in_between_is_one_change_and_leaves_the_others_matched() -> None:
    with_cast = layers(cast_before=1)
    found = match(OLD, with_cast)
    assert (found.pairs, found.casts_second, found.share) == (((0, 0), (1, 2), (2, 3)), (1,), 1.0)
    [added] = changes.between(OLD, with_cast)
    assert (added.position, added.operator, added.what, added.new) == (1, "QUANTIZE", "operator", "added")
    [removed] = changes.between(with_cast, OLD)
    assert (removed.position, removed.operator, removed.old) == (-1, "QUANTIZE", "removed")


def test_casts_come_after_what_changed_beside_them() -> None:
    found = changes.between(OLD, layers(cast_before=1, factor=1.6))
    assert [(one.what, one.position) for one in found] == [*(("weights scale", i) for i in (0, 2, 3)), ("operator", 1)]


def test_a_layer_that_came_is_named_and_the_others_are_unchanged() -> None:
    [added] = changes.between(OLD, layers(other=1))
    assert (added.operator, added.what, added.new) == ("FULLY_CONNECTED", "operator", "added")


def test_scales_that_moved_alike_are_one_line_whatever_the_layers_are_called() -> None:
    found = changes.between(OLD, layers(prefix="a/b", factor=1.6))
    lines = told(FileChanges(old="old", new="new", matched=1.0, changes=found))
    assert lines == ["3 × weights scale: 1.6 times larger (e.g. FULLY_CONNECTED a/b_0)"]


def test_what_a_loop_runs_is_compared_too() -> None:
    assert changes.between(loop(), loop()) == []
    [found] = changes.between(loop(), loop(noise=1.0))
    assert (found.position, found.what, found.new) == (-1, "weights in a loop", "16 of 16 stored values differ")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            FileChanges(old="a", new="b", matched=0.4, changes=[]),
            "only 40 % of the operators have a partner in the other",
        ),
        (FileChanges(old="a", new="b", matched=1.0, changes=[]), "the same operators, weights, options and ranges"),
    ],
)
def test_how_far_two_files_could_be_matched_is_said(found: FileChanges, words: str) -> None:
    assert told(found)[0].startswith(words)
    assert section([found]) == []  # nothing to list in a comparison of runs


def test_long_lists_take_little_time_and_branches_in_another_order_are_paired() -> None:
    ours = [Traits("ADD", (1, at % 7), at % 7, words=frozenset({f"a{at}"})) for at in range(3000)]
    theirs = [*ours[1500:], *ours[:1500]]
    found = aligned(ours, theirs)
    assert len(found) == len({j for _, j in found}) > 2500


def test_lists_of_which_only_kinds_and_weights_are_known_are_aligned() -> None:
    old = [Traits("CONV_2D", weights=((8, 3),)), Traits("ADD"), Traits("CONV_2D", weights=((16, 3),))]
    new = [old[0], Traits("CONV_2D", weights=((1, 1),)), *old[1:]]
    assert aligned(old, new) == [(0, 0), (1, 2), (2, 3)]


def test_parts_that_a_file_joins_in_another_order_are_named() -> None:
    (found,) = changes.reordered(joined("boxes scores"), joined("scores boxes"))
    assert (found.operator, found.old, found.new) == ("CONCATENATION", "1×4, 1×3", "1×3, 1×4")
    assert changes.reordered(joined("boxes scores"), joined("boxes scores")) == []
