"""One comment and one issue, edited and not repeated; silence when green; no text of a stranger is taken for ours."""

import pytest
from quantbench.errors import BadInput
from quantbench.forge.decide import Said, for_comment, for_issue, marked, mine

RED, GREEN = marked("bad\nworse\n", "gate", True), marked("good\n", "gate", False)


def there(body: str, ours: bool = True) -> Said:
    return Said(3, body, ours)


@pytest.mark.parametrize(
    ("old", "new", "red", "comment", "issue"),
    [
        (None, RED, True, "create", "create"),
        (None, GREEN, False, "nothing", "nothing"),
        (RED, marked("worse\n", "gate", True), True, "edit", "edit"),
        (RED, RED, True, "nothing", "nothing"),
        (RED.replace("\n", " \r\n") + "  \n", RED, True, "nothing", "nothing"),  # as a forge may return it
        (RED, GREEN, False, "edit", "close"),
        (GREEN, marked("good again\n", "gate", False), False, "nothing", "close"),
        (GREEN, RED, True, "edit", "edit"),
    ],
)
def test_what_is_done_of_what_is_there(old: str | None, new: str, red: bool, comment: str, issue: str) -> None:
    said = None if old is None else there(old)
    assert for_comment(said, new, red).what == comment
    assert for_issue(said, new, red).what == issue


def test_ours_is_found_among_others() -> None:
    quoted = there(f"> {RED}")
    other = there(marked("x", "gate-3.12", True))
    strangers = there(RED, ours=False)
    own = Said(9, RED, ours=True)
    assert mine([quoted, other, strangers], "gate") is None
    assert mine([quoted, other, strangers, own, there(RED)], "gate") == own


@pytest.mark.parametrize("key", ["", "a b", "-->", "ü", "x" * 65, ".hidden", "a\n"])
def test_a_key_that_could_leave_the_marker_is_refused(key: str) -> None:
    with pytest.raises(BadInput, match="--name: expected up to 64 letters"):
        marked("x", key, True)
