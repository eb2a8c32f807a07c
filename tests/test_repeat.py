"""`make test-repeat`: runs are counted, what failed is named, a stopped count goes on, other files start again."""
import json
import subprocess

import pytest

pytest.importorskip("psutil", reason="machine facts come from psutil: pip install -e '.[bench]'")
from tools.checks import repeat


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """(repeat's main with a file of its own, what was run so far): every second run of one page fails."""
    ran = []

    def run(target, threads):
        ran.append(target)
        bad = target.endswith("02_forward_noising.ipynb") and ran.count(target) % 2 == 0
        return 7, ["Cell 3"] if bad else []

    monkeypatch.setattr(repeat, "run", run)
    monkeypatch.setattr(repeat, "state", lambda out: "abc")
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


def test_two_at_a_time_are_counted_alike(counted, monkeypatch):
    main, ran = counted
    alone, told = main("--tests", "3", "--notebooks", "2"), list(ran)
    ran.clear()
    monkeypatch.setattr(repeat, "state", lambda out: "def")
    assert main("--tests", "3", "--notebooks", "2", "--jobs", "2") == alone and sorted(ran) == sorted(told)


def test_runs_go_on_on_another_machine_and_it_is_named(counted, monkeypatch, tmp_path):
    main, ran = counted
    for name in ("slow", "fast", "slow"):
        monkeypatch.setattr(repeat, "machine", lambda name=name: {"processor": name})
        main("--tests", "3" if name == "fast" else "1", "--notebooks", "0")
    assert ran == ["tests"] * 3
    machines = json.loads((tmp_path / "repeat.json").read_text())["machines"]
    assert machines == [{"processor": "slow"}, {"processor": "fast"}]


def test_only_the_counts_may_change_between_runs(monkeypatch, tmp_path):
    git = lambda *words: subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=tmp_path,
                                        check=True, capture_output=True)
    monkeypatch.setattr(repeat, "ROOT", tmp_path)
    counts, helper = tmp_path / "repeat.json", tmp_path / "helper.py"
    helper.write_text("a = 1")
    counts.write_text("{}")
    git("init"), git("add", "."), git("commit", "-m", "first")
    first = repeat.state(counts)
    counts.write_text("{1}")
    assert repeat.state(counts) == first                       # not committed
    git("commit", "-am", "counts")
    assert repeat.state(counts) == first and "+" not in first
    helper.write_text("a = 2")
    assert repeat.state(counts) == first + "+"
    git("commit", "-am", "helper")
    assert repeat.state(counts) not in (first, first + "+")


def test_other_files_start_anew(counted, monkeypatch):
    main, ran = counted
    main("--tests", "1", "--notebooks", "0")
    for state in ("def", "def+", "def+"):                      # a plus: what ran is nowhere to be had
        monkeypatch.setattr(repeat, "state", lambda out, state=state: state)
        assert main("--tests", "1", "--notebooks", "0")[1]["tests"]["runs"] == 1
    assert ran == ["tests"] * 4


def test_a_real_run_names_what_failed(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    tests, failed = repeat.run(str(tmp_path))
    assert tests == 2 and len(failed) == 1 and failed[0].endswith("test_bad")
    (tmp_path / "test_it.py").write_text("1 / 0\n")
    assert repeat.run(str(tmp_path))[1]
