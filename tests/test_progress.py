"""The progress bar: on standard error, and only when asked."""

import pytest

from jointspace.progress import progress_bar


@pytest.mark.parametrize("show", [True, False])
def test_a_bar_goes_to_standard_error_and_only_when_shown(capsys, monkeypatch, show):
    monkeypatch.setenv("FORCE_COLOR", "1")  # As a terminal; elsewhere a bar shows nothing.
    with progress_bar("decoding", show=show) as report:
        report(3, 7)
        report(7, 7)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("decoding" in printed.err) == ("7/7" in printed.err) == show
