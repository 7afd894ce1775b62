import json

import pytest

from jointspace.cli import main


@pytest.mark.slow
def test_the_fast_demo_goes_from_nothing_to_a_report_and_continues(tmp_path, capsys):
    words = ["demo", "--fast", "--out", str(tmp_path / "demo"), "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["simulate"]["num_episodes"] == 40
    report = tmp_path / "demo" / "run" / "report.html"
    assert report.is_file()
    assert printed["evaluate"]["files"]["html"] == str(report)
    page = report.read_text()
    for split in ("unseen_paraphrases", "unseen_combinations"):
        assert split in page or split.replace("_", " ") in page
    # Everything is there already: nothing is simulated or trained again.
    weights = tmp_path / "demo" / "run" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert main(words) == 0
    assert weights.stat().st_mtime_ns == before
    capsys.readouterr()
    # The same folder is not used for other data.
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "choose another folder" in capsys.readouterr().err
