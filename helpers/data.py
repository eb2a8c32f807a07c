"""Any images in: a picture, a folder, a zip, a TIFF stack, an array file or an upload become tensors.

    x = load_images("holiday.zip", size=64)                    # (N, 1, 64, 64), float32 in [-1, 1]
    x, y = load_pairs("training.tif", "groundtruth.tif", 64)   # pictures and masks, two (N, 1, 64, 64)

The same for every kind of file (helpers/files.py finds and decodes them):
- Square: the centre square of the shorter side, resized with antialiasing; EXIF rotation is applied first. A mask takes
  the same square and the nearest pixel, so that a pair stays aligned.
- Brightness: 8-bit values are divided by 255. All others (16-bit, signed, float) are stretched by the range of their
  whole file: nothing is clipped, and the pages of a stack keep their relation. NaN becomes the darkest value.
- Transparency is put on white (in a mask it is background), in 8-bit pictures; elsewhere a fourth channel is left out.
- Of an animation the first frame is taken, of a 16-bit PNG in colour the upper 8 bits. Linked folders are not entered.
"""
import hashlib
import os
import random
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm.auto import tqdm

from helpers import files
from helpers.files import MANY, DataError, DataWarning, decode, find, opened, pages, value_range

CACHE = Path(__file__).parents[1] / "data" / "cache"


def load_images(path, size, channels=1, names=False):
    """Every picture in path: (N, channels, size, size), float32 in [-1, 1], grey or (channels=3) colour.

    path: a picture, a folder (searched to the bottom, in natural order), a zip, a TIFF (every page is a picture), an
    .npz with `images`, the value of an upload widget (ipywidgets 7 or 8) or plain bytes, or a list of these.
    names=True: also N names, such as "AD/388206_78.jpeg" or "stack.tif, page 3", to make the groups of split() from.
    Raises DataError if no picture can be read; warns once (DataWarning) of those left out.
    """
    _check(size, channels)
    try:
        found = find(path)
        cache = CACHE / f"{_fingerprint(found, size, channels)}.npz" if len(found) >= MANY else None
        x, known, skipped = _recall(cache)
        if x is None:
            (pictures, skipped), read = pages(found), []
            for picture in tqdm(pictures, "reading", disable=len(pictures) < MANY, leave=False):
                try:
                    read.append(_tensor(decode(picture, size, channels), size, channels, picture.span))
                    known.append(picture.name)
                except DataError as error:
                    skipped.append(str(error))
            x = torch.stack(read) if read else torch.empty(0)
            _remember(cache, x, known, skipped)
        _report(len(x), skipped)
        return (x, known) if names else x
    finally:
        opened.cache_clear()                                          # Windows locks what stays open


class ImageFiles(torch.utils.data.Dataset):
    """The same pictures, read one at a time: item i is (channels, size, size), float32 in [-1, 1].

    For sets that do not fit in memory. `names` says what item i is. A picture that turns out to be damaged is replaced
    by the next good one, with a DataWarning.
    """

    def __init__(self, path, size, channels=1):
        _check(size, channels)
        self.size, self.channels, self.damaged = size, channels, set()
        self.pictures, skipped = pages(find(path))
        self.names = [picture.name for picture in self.pictures]
        opened.cache_clear()                                          # each worker opens its own
        _report(len(self.pictures), skipped)

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        first = range(len(self))[i]                                   # an IndexError here ends a for loop
        for picture in (self.pictures[(first + step) % len(self)] for step in range(len(self))):
            try:
                return _tensor(decode(picture, self.size, self.channels), self.size, self.channels, picture.span)
            except DataError as error:
                problem = str(error)
                if picture.name not in self.damaged:
                    self.damaged.add(picture.name)
                    warnings.warn(f"{problem} The next picture takes its place.", DataWarning, stacklevel=2)
        raise DataError(f"none of the {len(self)} pictures can be read. The last: {problem}")


def load_pairs(images, masks, size):
    """Pictures and their masks: two (N, 1, size, size), float32, the pictures in [-1, 1], the masks 0 or 1.

    images, masks: two folders or zips, paired by name or number (10 goes with 10_mask, not with 2_mask), one folder
    twice (x and x_mask), two stacks, paired page by page, or two files.
    What is foreground: in masks that reach 255 (or 65535) or hold fractions, whatever lies above half; in masks of
    small whole numbers (0 and 1, or one for each object), all but 0; in coloured masks, all but dark pixels.
    Raises DataError if a picture and its mask differ in shape, or if most pictures have no mask.
    """
    _check(size, 1)
    try:
        (pairs, skipped), x, y = _paired(find(images), find(masks)), [], []
        for image, mask in tqdm(pairs, "reading", disable=len(pairs) < MANY, leave=False):
            try:
                a, b = decode(image), decode(mask)
            except DataError as error:
                skipped.append(str(error))
                continue
            one, other = [r.size if isinstance(r, Image.Image) else r.shape[1::-1] for r in (a, b)]
            if one != other:
                raise DataError("{} is {} x {} pixels, but its mask {} is {} x {}. Export both at one size."
                                .format(image.name, *one, mask.name, *other))
            x.append(_tensor(a, size, 1, image.span))
            y.append(_mask(b, size))
        _report(len(x), skipped)
        return torch.stack(x), _foreground(np.stack(y))
    finally:
        opened.cache_clear()


def _check(size, channels):
    if not isinstance(size, int) or size < 1 or channels not in (1, 3):
        raise DataError(f"size must be a whole number above 0 and channels 1 or 3; found {size!r} and {channels!r}.")


def _report(n, skipped):
    if not n:
        many = f"none of the {len(skipped)} files can be read. The first: " if len(skipped) > 1 else ""
        raise DataError(many + skipped[0])
    if skipped:
        more = [f"and {len(skipped) - 10} more"] if len(skipped) > 10 else []
        text = "\n- ".join([f"{n} pictures are loaded, {len(skipped)} left out:", *skipped[:10], *more])
        warnings.warn(text, DataWarning, stacklevel=3)


def _square(image, size, how):
    """The centre square of an Image at another size: float32 (size, size) or (size, size, 3)."""
    w, h = image.size
    side = min(w, h)
    left, top = (w - side) / 2, (h - side) / 2
    return np.asarray(image.resize((size, size), how, (left, top, left + side, top + side)), np.float32)


def _on(background, image, mode):
    """An Image in this mode; what is transparent shows the background."""
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA"))
    return image.convert(mode)


def _tensor(raw, size, channels, span=None):
    """A decoded picture -> (channels, size, size), float32 in [-1, 1]."""
    if isinstance(raw, Image.Image):
        bands = [_on("white", raw, "L" if channels == 1 else "RGB")]
    else:
        low, high = span or value_range(raw)
        a = 255 * (raw.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny)
        a = np.nan_to_num(a, nan=0, posinf=255, neginf=0)
        a = a @ [0.299, 0.587, 0.114] if channels == 1 and a.ndim == 3 else a
        bands = [Image.fromarray(band.astype(np.float32)) for band in np.moveaxis(np.atleast_3d(a), -1, 0)]
    a = np.dstack([_square(band, size, Image.Resampling.BICUBIC) for band in bands])
    a = torch.from_numpy(a.clip(0, 255) / 127.5 - 1)                  # bicubic overshoots at edges
    return a.permute(2, 0, 1).expand(channels, -1, -1).contiguous()


def _mask(raw, size):
    """A decoded mask -> its values (size, size): nearest pixels of the same square, colours made 0 or 255."""
    a = np.asarray(_on("black", raw, "RGB")) if isinstance(raw, Image.Image) else np.nan_to_num(raw)
    if a.ndim == 3:
        bright = a.max(-1)
        coloured = (bright - a.min(-1).astype(float)).max() > bright.max() / 8      # more than the noise of a JPEG
        a = (bright > bright.max() / 4) * np.uint8(255) if coloured else bright
    return _square(Image.fromarray(a.astype(np.float32)), size, Image.Resampling.NEAREST).astype(a.dtype)


def _foreground(masks):
    """Values (N, size, size) -> (N, 1, size, size), 0 or 1: one rule for the whole set, since one mask may be blank."""
    low, high = min(0, float(masks.min())), float(masks.max())
    labels = masks.dtype.kind in "ui" and not (250 <= high <= 255 or high == 65535)   # 250: what a JPEG leaves of 255
    y = torch.from_numpy(masks > (0 if labels else (low + high) / 2))[:, None].float()
    if y.min() == y.max():
        warnings.warn(f"the masks mark {'everything' if y.max() else 'nothing'}. Are they the right files?",
                      DataWarning, stacklevel=3)
    return y


MASK_WORDS = set("mask masks label labels gt groundtruth truth seg segmentation annotation annotations".split())
WORDS = MASK_WORDS | set("ground image images img im in out".split())


def _tokens(name, drop=()):
    """'scan_010_Mask.png' -> ('scan', 10): its words and numbers, without words that only say what it is."""
    parts = re.findall(r"\d{1,18}|[^\W\d_]+", str(Path(name).with_suffix("")).lower())
    return tuple(int(part) if part.isdigit() else part for part in parts if part not in drop)


KEYS = [lambda name: Path(name).with_suffix(""),                      # how names may agree, the strictest first
        lambda name: _tokens(name, WORDS),
        lambda name: _tokens(Path(name).name, WORDS),
        lambda name: [part for part in _tokens(Path(name).name) if isinstance(part, int)]]


def _paired(images, masks):
    """([(picture, its mask)], skipped)."""
    if images == masks:                                               # one folder holds both
        marked = [bool(MASK_WORDS & set(_tokens(Path(file.name).name))) for file in images]
        images, masks = ([file for file, mark in zip(images, marked) if mark == side] for side in (False, True))
    (a, skipped), (b, more) = pages(images), pages(masks)
    skipped += more
    if not a or not b:
        _report(0, skipped or ["no file is named like a mask (x and x_mask). Give the folder of the masks as well."])
    if len(images) == len(masks) == 1:
        if len(a) != len(b):
            raise DataError(f"{images[0].name} has {len(a)} pages, but {masks[0].name} has {len(b)}. "
                            "Give stacks that match page by page.")
        return list(zip(a, b)), skipped
    for key in KEYS:
        mine, theirs = ({(str(key(p.name)), p.page): p for p in side} for side in (a, b))
        both = [k for k in mine if k in theirs]
        if len(mine) == len(a) and len(theirs) == len(b) and 2 * len(both) >= len(a):
            lone = [f"{mine[k].name} has no mask." for k in mine if k not in theirs]
            lone += [f"{theirs[k].name} is a mask without a picture." for k in theirs if k not in mine]
            return [(mine[k], theirs[k]) for k in both], skipped + lone
    raise DataError(f"most of the {len(a)} pictures have no mask among the {len(b)} ({a[0].name}, {b[0].name} do not "
                    "match). Name each mask like its picture: x.png and x_mask.png.")


def turned(images):
    """The eight turns and mirror images of square pictures (N, C, H, H): (8 N, C, H, H), the originals first."""
    return torch.cat([x.rot90(k, (2, 3)) for x in (images, images.flip(3)) for k in range(4)])


def windows(images, each, size, seed=0):
    """Squares cut at random places from square pictures (N, C, H, H): (N * each, C, size, size), a picture's together.

    Each side is from a third of the picture to all of it, so that few large photographs give many small pictures.
    DataError: H is less than three times size, so that windows would be blurred.
    """
    full, draw, found = images.shape[-1], random.Random(seed), []          # never the global random state
    if full < 3 * size:
        raise DataError(f"windows of {size} pixels need pictures of {3 * size} or more, but these have {full}. "
                        f"Load them larger, with size={4 * size}.")
    for image in images:
        for _ in range(each):
            side = draw.randint(full // 3, full)
            top, left = draw.randint(0, full - side), draw.randint(0, full - side)
            cut = image[None, :, top:top + side, left:left + side]
            found.append(F.interpolate(cut, size=(size, size), mode="bilinear", antialias=True))
    return torch.cat(found)


def split(images, groups=None, heldout=0.2, seed=0):
    """Which pictures to train on and which to hold out, as two index tensors: `train, held = split(x, patients)`.

    groups: what each picture was cut from (a volume, a patient, a photograph), one entry each, of any kind; a group is
    never divided. None: each picture is its own. heldout: the part of the groups to hold out, one at least.
    Warns if a held-out picture equals a training picture byte by byte.
    """
    groups = range(len(images)) if groups is None else groups.tolist() if torch.is_tensor(groups) else list(groups)
    kinds = list(dict.fromkeys(groups))
    if len(groups) != len(images):
        raise DataError(f"there are {len(images)} pictures, but {len(groups)} groups. Give one entry for each picture.")
    if len(kinds) < 2:
        raise DataError(f"all {len(images)} pictures are of one group, so none can be held out. Bring a second group.")
    order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(seed)).tolist()
    out = {kinds[i] for i in order[:min(max(round(heldout * len(kinds)), 1), len(kinds) - 1)]}
    train, held = ([i for i, group in enumerate(groups) if (group in out) == side] for side in (False, True))
    known = {images[i].numpy().tobytes(): i for i in train}
    same = [(i, known[key]) for i in held if (key := images[i].numpy().tobytes()) in known]
    if same:
        warnings.warn(f"{len(same)} held-out pictures are also in training (number {same[0][0]} equals {same[0][1]}). "
                      "Take the copies out, or put them in one group.", DataWarning, stacklevel=2)
    return torch.tensor(train), torch.tensor(held)


def training_images(path, size, channels=1, crops=1, seed=0):
    """(images, names): what notebook 03 makes of path, (N * crops, channels, size, size), and the names of N images.

    crops: 1 takes each image whole; more, so many random crops of each, those of an image in a row.
    """
    if crops == 1:
        return load_images(path, size, channels, names=True)
    images, names = load_images(path, 4 * size, channels, names=True)
    return windows(images, crops, size, seed), names


def trained_and_held_out(path, about, least=0):
    """(trained, held_out): the images at path as a network saw them in training, and those of the held-out files.

    Both are (N, C, size, size).  about: the header of its weights, in which notebook 03 names what it held out.
    Held-out images that equal a training image are dropped.  Where fewer than least remain (helpers.run holds none
    out), held_out is all images, and a DataWarning says so.  DataError: path no longer holds the training's images.
    """
    crops, names_out = about.get("crops", 1), about.get("held_out", [])
    images, names = training_images(path, about["size"], about["channels"], crops, about.get("seed", 0))
    n = len(names) - len(names_out)
    if (about.get("images", len(names)), names_out) != (len(names), names[max(n, 0):]):
        raise DataError(f"{path} has changed since the network was trained: it holds {len(names)} images, then it held "
                        f"{about.get('images')}. Put the files back as they were, or train anew in notebook 03.")
    whole = images if crops == 1 else load_images(path, about["size"], about["channels"])
    known = {x.numpy().tobytes() for x in whole[:n]}
    out = [i for i in range(n, len(names)) if whole[i].numpy().tobytes() not in known]
    held_out = images[[i * crops + k for i in out for k in range(crops)]]
    if len(held_out) < least:
        warnings.warn(f"{len(held_out)} held-out images of {path} are known, and {least} are needed. So all are taken, "
                      "also those that the network was trained on: what is measured looks better than it is.",
                      DataWarning, stacklevel=2)
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
        warnings.warn("the network was trained on these images: what follows looks better than on new ones.",
                      DataWarning, stacklevel=2)
    return new or list(range(len(images)))


def _fingerprint(found, *settings):
    """A name for this content under these settings, read by this code."""
    code = Path(__file__).read_bytes() + Path(files.__file__).read_bytes()
    digest = hashlib.sha256(code + repr((settings, [file.name for file in found])).encode())
    for where in dict.fromkeys(file.where for file in found):
        if isinstance(where, bytes) or os.access(where, os.R_OK):     # a broken link is told of later
            digest.update(hashlib.sha256(where if isinstance(where, bytes) else where.read_bytes()).digest())
    return digest.hexdigest()[:40]


def _recall(cache):
    """(pictures, names, skipped) from the cache, or (None, [], []) if it has none that can be read."""
    try:
        with open(cache, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return torch.from_numpy(stored["x"]), stored["names"].tolist(), stored["skipped"].tolist()
    except Exception:                                                 # none, half-written or damaged: read anew
        return None, [], []


def _remember(cache, x, *texts):
    """Write the cache whole or not at all."""
    if cache is None or not len(x):
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as part:
            names, skipped = (np.array(text, dtype=str) for text in texts)    # no objects, so no pickle
            np.savez(Path(part, "x.npz"), x=x.numpy(), names=names, skipped=skipped)
            os.replace(Path(part, "x.npz"), cache)
    except OSError:                                                   # a full disk or a read-only checkout: do without
        pass
