"""Notebook 03: as a script it trains without a notebook, and its samples are labelled with what was done by then."""
import os
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
from cells import page
from nbconvert.exporters import ScriptExporter
from own_data import photographs, play, trained

from helpers import env, plot, scenes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_script_of_03_trains_without_a_notebook(tmp_path):
    """Up to its first samples, on twelve small images."""
    raw = ((scenes.craters(12, 16, seed=9).images[:, 0] + 1) * 127.5).byte().numpy()
    np.savez(tmp_path / "few.npz", images=raw)
    notebook = nbformat.read(page("03"), as_version=4)
    last = [cell.id for cell in notebook.cells].index("samples")
    notebook.cells = notebook.cells[:last + 1]
    text = ScriptExporter().from_notebook_node(notebook)[0]
    for name, value in dict(data="few.npz", size=16, minutes=0.01).items():
        text = re.sub(rf"(?m)^{name} = .*$", f"{name} = {value!r}", text, count=1)
    (tmp_path / "training.py").write_text(text, encoding="utf8")
    (tmp_path / "craters-from-noise").symlink_to(env.ROOT)         # where the set-up cell looks
    there = dict(COURSE_CHECKPOINTS=str(tmp_path), MPLBACKEND="Agg", OMP_NUM_THREADS="1")
    end = subprocess.run([sys.executable, "training.py"], cwd=tmp_path, capture_output=True, text=True,
                         env=os.environ | there)
    assert end.returncode == 0, end.stderr
    assert list(tmp_path.glob("few-*-16x16x1.safetensors")) and not list(tmp_path.glob("*.checkpoint"))


# ---- a training that is resumed


def resumed(tmp_path, monkeypatch, fractions):
    """The labels under which notebook 03 shows samples, where fit calls watch at these fractions only."""
    def fit(model, train, loss, watch=None, **options):
        for done in fractions:
            watch(done, model, [1.0, 0.5])
        return model, [1.0, 0.5]
    folder = photographs(tmp_path / "mine", 10, 16)
    names = trained(folder, monkeypatch, tmp_path, size=16, crops=1)
    drawn, shown = [], []
    names |= dict(fit=fit, draw=lambda average, n: drawn.append(n) or torch.zeros(n, 1, 16, 16))
    monkeypatch.setattr(plot, "panels", lambda rows, alt, labels, side: shown.append(labels))
    play("03", ["train", "moments"], names)
    return shown[0], len(drawn)


@pytest.mark.parametrize("fractions, wanted", [
    ([0.01, 0.02, 0.05, 0.1, 0.3, 0.3, 0.6, 1.001], ["2%", "10%", "30%", "60%", "100%"]),
    ([0.67, 0.68, 0.69, 1.0], ["67%", "100%"]),
    ([0.67, 0.68, 0.69, 0.69], ["67%"]),
    ([1.2], ["100%"]), ([], ["100%"])], ids=["whole", "resumed", "cut short", "past its end", "finished"])
def test_samples_are_labelled_with_what_was_done_when_they_were_drawn(fractions, wanted, tmp_path, monkeypatch):
    assert resumed(tmp_path, monkeypatch, fractions) == (wanted, len(wanted))
