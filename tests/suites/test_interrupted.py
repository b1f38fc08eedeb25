"""A signal that ends a run of pytest: its traceback may hold an instruction without a line number."""

import pytest
from quantbench.suites import plugin


def test_the_frames_that_a_signal_hit_are_not_handed_to_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "_plan", lambda _session: None)
    loop = plugin.pytest_runtestloop(None)  # type: ignore[arg-type]
    next(loop)

    def hit() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as signal:
        hit()
    with pytest.raises(KeyboardInterrupt) as caught:
        loop.throw(signal.value)
    assert caught.value.__suppress_context__
    assert "hit" not in [entry.name for entry in caught.traceback]
