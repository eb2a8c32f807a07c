"""Run by test_train_command.py in each of two processes: tools.models.train, and a note of what it did.

    accelerate launch ... tests/two_processes.py FOLDER --steps 4 ...
"""
import hashlib
import json
import runpy
import sys
from pathlib import Path

from accelerate import PartialState

from helpers import train

fit, folder = train.fit, Path(sys.argv.pop(1))


class Noted:
    """A dataset that remembers which pictures were asked for."""

    def __init__(self, pictures):
        self.pictures, self.asked = pictures, []

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        self.asked.append(i)
        return self.pictures[i]


def digest(model):
    """The same for the same weights, to the bit."""
    return hashlib.sha256(b"".join(p.detach().contiguous().numpy().tobytes() for p in model.parameters())).hexdigest()


def noted_fit(model, pictures, *args, **options):
    """fit, and a note beside the weights."""
    noted = Noted(pictures)
    average, losses = fit(model, noted, *args, **options)
    note = dict(processes=PartialState().num_processes, asked=noted.asked, losses=losses, model=digest(model),
                average=digest(average))
    (folder / f"{PartialState().process_index}.json").write_text(json.dumps(note))
    return average, losses


train.fit = noted_fit
runpy.run_module("tools.models.train", run_name="__main__", alter_sys=True)
