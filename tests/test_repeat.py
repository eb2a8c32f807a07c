"""`make test-repeat`: runs are counted, what failed is named, a stopped count goes on, another state starts anew."""
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="machine facts come from psutil: pip install -e '.[bench]'")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import repeat


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """(repeat's main with a file of its own, what was run so far): every second run of one page fails."""
    ran = []

    def run(target):
        ran.append(target)
        bad = target.endswith("02_forward_noising.ipynb") and ran.count(target) % 2 == 0
        return 7, ["Cell 3"] if bad else []

    monkeypatch.setattr(repeat, "run", run)
    monkeypatch.setattr(repeat, "state", lambda: "abc")
    out = tmp_path / "repeat.json"
    return lambda *words: (repeat.main([*words, "--out", str(out)]), json.loads(out.read_text())["counts"]), ran


def test_runs_are_counted_and_go_on(counted):
    main, ran = counted
    code, counts = main("--tests", "2", "--notebooks", "1")
    assert code == 0 and counts["tests"] == dict(runs=2, failed_runs=0, tests=7, failed={})
    before = len(ran)
    code, counts = main("--tests", "3", "--notebooks", "2")
    assert code == 1 and counts["notebooks/02_forward_noising.ipynb"]["failed"] == {"Cell 3": 1}
    assert counts["tests"]["runs"] == 3 and len(ran) == before + 1 + len(counts) - 1       # only what was missing


def test_another_commit_starts_anew(counted, monkeypatch):
    main, ran = counted
    main("--tests", "1", "--notebooks", "0")
    for state in ("def", "def+", "def+"):                      # a plus: files differ, nobody knows from what
        monkeypatch.setattr(repeat, "state", lambda state=state: state)
        assert main("--tests", "1", "--notebooks", "0")[1]["tests"]["runs"] == 1
    assert ran == ["tests"] * 4


def test_a_real_run_names_what_failed(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    tests, failed = repeat.run(str(tmp_path))
    assert tests == 2 and len(failed) == 1 and failed[0].endswith("test_bad")
    (tmp_path / "test_it.py").write_text("1 / 0\n")
    assert repeat.run(str(tmp_path))[1]
