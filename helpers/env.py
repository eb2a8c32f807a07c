"""The device, the checkout's folders, and which trained weights belong to which data."""
import os
import zlib
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "data" / "weights"                            # those of the course
CHECKPOINTS = Path(os.path.expanduser(os.environ.get("COURSE_CHECKPOINTS") or ROOT / "data" / "checkpoints"))  # yours


def device():
    """The fastest device here: CUDA, Apple's MPS or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def data_name(data):
    """What headers and titles call data: "craters" for None, "photos" for ~/photos/, "a.zip and 2 more" for a list."""
    names = [name for name, _, _ in _sources(data)]
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def weights_path(data, size, channels):
    """The file in which notebook 03 saves the weights trained on data at this size, with this many channels.

    data: None (the rendered craters), or all that helpers.data.load_images takes: a path, an upload, a list of these.
    All spellings of a path (~, relative, through a link) give one name; so do all uploads of one content.
    """
    sources = _sources(data)
    name = sources[0][1] + (f"+{len(sources) - 1}" if len(sources) > 1 else "")
    if data is not None:
        name += f"-{zlib.crc32(b'/'.join(content for _, _, content in sources)):08x}"
    return CHECKPOINTS / f"{name}-{size}x{size}x{channels}.safetensors"


def find_weights(data, size, channels):
    """(path, whose): your own weights for these settings if notebook 03 made some, else those of the course."""
    own = weights_path(data, size, channels)
    return (own, "your own") if own.exists() else (WEIGHTS / "craters64.safetensors", "shipped")


def _sources(data):
    """What data consist of: a list of (name, start of a file name, the bytes that tell it apart from others).

    ValueError: nothing, or neither a path nor an upload.
    """
    if data is None:
        return [("craters", "craters", b"")]
    if isinstance(data, dict) and "content" not in data:       # from the upload widget of ipywidgets 7
        data = [{"name": name, **upload} for name, upload in data.items()]
    if isinstance(data, (list, tuple)):
        found = [source for part in data for source in _sources(part)]
        if not found:
            raise ValueError("data is empty: name a path, or upload a file first.")
        return found
    if isinstance(data, dict):                                 # from that of ipywidgets 8
        return [(data.get("name", "upload"), "upload", bytes(data["content"]))]
    if isinstance(data, (bytes, bytearray, memoryview)):
        return [("upload", "upload", bytes(data))]
    if not isinstance(data, (str, os.PathLike)):
        raise ValueError(f"data is of type {type(data).__name__}: give a path, an upload, or a list of these.")
    path = Path(os.path.expanduser(data)).resolve()
    return [(path.name, path.stem[:50], os.fsencode(path))]    # systems allow names of 255 bytes
