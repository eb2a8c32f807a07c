"""The bug zoo of notebook 09: a small model (model.py), eight bugs (broken.py), and what each does to it (cases.py)."""
from exercises.zoo.cases import exhibit
from exercises.zoo.model import SCHEDULE, Net, digits, draw, prepare, train

__all__ = ["SCHEDULE", "Net", "digits", "draw", "exhibit", "prepare", "train"]
