"""Where am I?  The device, the checkout's folders, and which trained weights belong to which data."""
import os
import zlib
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "data" / "weights"                            # those of the course
CHECKPOINTS = Path(os.environ.get("COURSE_CHECKPOINTS", ROOT / "data" / "checkpoints"))    # yours; tests use others


def device():
    """The fastest device here: CUDA, Apple's MPS or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def weights_path(data, size, channels):
    """Where notebook 03 keeps what it learns from data (None: the rendered craters) at size, with channels colours."""
    name = "craters" if data is None else f"{Path(data).stem}-{zlib.crc32(str(Path(data).resolve()).encode()):08x}"
    return CHECKPOINTS / f"{name}-{size}x{size}x{channels}.safetensors"


def find_weights(data, size, channels):
    """(path, whose): your own weights for these settings if notebook 03 made some, else those of the course."""
    own = weights_path(data, size, channels)
    return (own, "your own") if own.exists() else (WEIGHTS / "craters64.safetensors", "shipped")
