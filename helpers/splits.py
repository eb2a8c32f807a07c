"""Training set and held-out set: by group, by subject, and as notebook 03 records it in the header of the weights.

    train, held_out = split(images, subjects_of(names))
    trained, held_out = trained_and_held_out(path, about)      # about: the header of weights made by notebook 03
"""
import operator
import os
import re
from pathlib import Path

import torch

from helpers.data import WORDS, inside_zip, load_images, random_crops
from helpers.files import DataError, warn


def split(images, groups=None, heldout=0.2, seed=0):
    """Which images to train on and which to hold out, as two index tensors: `train, held = split(x, patients)`.

    groups: what each image belongs to (a volume, a patient, a photograph), one entry each, of any kind; a group is
    never divided. None: each image is a group. heldout: the fraction of the groups to hold out, at least one group.
    Warns if a held-out image equals a training image byte by byte.
    """
    groups = range(len(images)) if groups is None else groups.tolist() if torch.is_tensor(groups) else list(groups)
    kinds = list(dict.fromkeys(groups))
    if len(groups) != len(images):
        raise DataError(f"there are {len(images)} images, but {len(groups)} groups. Give one entry for each image.")
    if len(kinds) < 2:
        raise DataError(f"all {len(images)} images are of one group, so none can be held out. Bring a second group.")
    order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(operator.index(seed))).tolist()
    out = {kinds[i] for i in order[:min(max(round(heldout * len(kinds)), 1), len(kinds) - 1)]}
    train, held = ([i for i, group in enumerate(groups) if (group in out) == side] for side in (False, True))
    known = {images[i].numpy().tobytes(): i for i in train}
    same = [(i, known[key]) for i in held if (key := images[i].numpy().tobytes()) in known]
    if same:
        warn(f"{len(same)} held-out images are also in training (number {same[0][0]} equals {same[0][1]}). "
             "Take the copies out, or put them in one group.")
    return torch.tensor(train), torch.tensor(held)


STUDIES = re.compile(r"\bsub-[A-Za-z0-9]+|OAS[12]_\d{4}|OAS[34]\d{4}|\d{3}_S_\d{4}|IXI\d{3}")   # BIDS, OASIS, ADNI, IXI
SLICE_WORDS = WORDS | set("axial brain coronal frame head mri sagittal scan slice slices z".split())


def subjects_of(names):
    """The subject of each image, read from its name: N strings, the groups for split().

    names: as load_images(..., names=True) gives them. Ids of BIDS (sub-01), OASIS (OAS1_0001), ADNI (002_S_0295) and
    IXI (IXI174) are known, wherever they stand. Of other files the last number is the slice, and the subject is what
    stands before it (388206_78.jpeg: 388206), or else the folder (p7/slice_012.png: p7). A stack is of one subject.
    Warns where the names hold more than subject and slice. Raises DataError where they do not tell the subject.
    """
    names = [inside_zip(name) for name in names]                         # a zip is no subject
    known = [STUDIES.search(name) for name in names]
    if all(known):
        return [study.group() for study in known]
    stacks = all(", page " in name for name in names)
    paths = [Path(name.partition(", page ")[0]) for name in names]
    folders = [path.parts[:-1] for path in paths]
    heads = [_words(path.stem) if stacks else _words(_before_slice(path.stem)) for path in paths]
    files = _numbered(heads)
    if not any(files) and (stacks or len(set(zip(folders, heads))) > len(set(folders))):
        files = heads                                                 # anna_12.png and ben_12.png, in one folder
    places = [part[-1:] for part in _numbered(folders)]
    found = files if all(files) else places
    crossed = all(places) and len(set(zip(found, places))) > len(set(found))        # a/s1_12.png and b/s1_12.png
    if crossed or not all(found):
        raise DataError(f"names such as {names[0]} do not tell which images are of one subject. Name the files "
                        "<subject>_<slice> (388206_78.png), or give each subject a folder with a number in its name.")
    if found is files and len(set(heads)) > len(set(files)):
        warn(f"the subject of {names[0]} is taken to be {'_'.join(found[0])}, although more follows before the number "
             f"of the slice; this makes {len(set(found))} subjects. If that is wrong, give split() groups of your own.")
    return ["_".join(subject) for subject in found]


def _before_slice(stem):
    """What stands before the last number in a file's name."""
    found = re.match(r"(.*?)\d+\D*$", stem)
    return found[1] if found else ""


def _words(text):
    """The words and numbers in a text, but for the words that any slice may have in its name."""
    return tuple(part for part in re.findall(r"[^\W_]+", text) if part.lower() not in SLICE_WORDS)


def _numbered(rows):
    """Each row of words up to the first with a number, past what all rows begin with; () if there is none."""
    shared = len(os.path.commonprefix(rows)) if len(set(rows)) > 1 else 0
    shared = min([shared, *(len(row) - 1 for row in rows)])
    ends = [[i for i, part in enumerate(row) if i >= shared and re.search(r"\d", part)] for row in rows]
    return [row[:end[0] + 1] if end else () for row, end in zip(rows, ends)]


def training_images(path, size, channels=1, crops=1, seed=0):
    """(images, names): what notebook 03 makes of path, (N * crops, channels, size, size), and the names of N images.

    crops: 1 takes each image as it is; a larger number, that many random crops of each image, together.
    """
    if crops == 1:
        return load_images(path, size, channels, names=True)
    images, names = load_images(path, 4 * size, channels, names=True)
    return random_crops(images, crops, size, seed), names


def trained_and_held_out(path, about, least=0):
    """(trained, held_out): the images at path as a network saw them in training, and those of the held-out files.

    Both are (N, C, size, size).  about: the header of its weights, in which notebook 03 names what it held out.
    Held-out images that equal a training image are dropped.  Where fewer than least remain (tools.models.train
    holds none out), held_out is all images, and a DataWarning says so.
    DataError: path no longer holds the images of the training.
    """
    crops = about.get("crops", 1)
    names_out = about.get("held_out", [])
    images, names = training_images(path, about["size"], about["channels"], crops, about.get("seed", 0))
    n = len(names) - len(names_out)
    if (about.get("images", len(names)), names_out) != (len(names), names[max(n, 0):]):
        raise DataError(f"{path} has changed since the network was trained: it holds {len(names)} images, then it held "
                        f"{about.get('images')}. Put the files back as they were, or train again in notebook 03.")
    whole = images if crops == 1 else load_images(path, about["size"], about["channels"])
    known = {x.numpy().tobytes() for x in whole[:n]}
    out = [i for i in range(n, len(names)) if whole[i].numpy().tobytes() not in known]
    held_out = images[[i * crops + k for i in out for k in range(crops)]]
    if len(held_out) < least:
        warn(f"{len(held_out)} held-out images of {path} are known, and {least} are needed. So all are taken, "
                      "also those that the network was trained on: what is measured looks better than it is.")
        held_out = images
    return images[:n * crops], held_out


def unseen(images, path, about):
    """Indices, a list, of those images (M, C, size, size) that equal none of the network's training images at path.

    about: the header of its weights.  Where there is none, all indices, and a DataWarning says so.
    """
    trained, _ = trained_and_held_out(path, about | {"crops": 1})       # whole images, even if it saw random crops
    known = {x.numpy().tobytes() for x in trained}
    new = [i for i, x in enumerate(images) if x.numpy().tobytes() not in known]
    if not new:
        warn("the network was trained on these images: what follows looks better than on new ones.")
    return new or list(range(len(images)))
