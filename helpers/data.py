"""Any images in: a picture, a folder, a zip, a TIFF stack, an array file or an upload become tensors.

    x = load_images("holiday.zip", size=64)                    # (N, 1, 64, 64), float32 in [-1, 1]
    x, y = load_pairs("training.tif", "groundtruth.tif", 64)   # pictures and masks, two (N, 1, 64, 64)

The same for every kind of file:
- Square: the centre square of the shorter side, resized with antialiasing; EXIF rotation is applied first. A mask takes
  the same square and the nearest pixel, so that a pair stays aligned.
- Brightness: 8-bit values are divided by 255. All others (16-bit, signed, float) are stretched by the range of their
  whole file: nothing is clipped, and the pages of a stack keep their relation. NaN becomes the darkest value.
- Transparency is put on white (in a mask it is background). Of an animation the first frame is taken.
- Files are only read: nothing is unpacked to disk, nothing in them is executed.
"""
import hashlib
import io
import logging
import os
import re
import tempfile
import warnings
import zipfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm.auto import tqdm

CACHE, MANY = Path(__file__).parents[1] / "data" / "cache", 200       # from MANY files on: a progress bar and a cache
Image.init()                                                          # no EPS below: Pillow would run Ghostscript
FORMATS = [name for name in "PNG JPEG TIFF BMP GIF WEBP PPM JPEG2000 ICO AVIF".split() if name in Image.OPEN]
SUFFIXES = tuple(".png .jpg .jpeg .jpe .jfif .tif .tiff .bmp .gif .webp .ppm .pgm .pbm .pnm .pfm .jp2 .ico .avif "
                 ".npz .npy .heic .heif .dcm".split())                # the last three: left out, and it is said why
TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
PICTURES = (*TIFF, b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM")
STRANGERS = {rb"\s*<(!doctype|html)": "a web page was saved in its place. Download the file itself.",
             rb"version https://git-lfs": "it is a git-LFS pointer. Fetch the file itself with `git lfs pull`.",
             rb".{4}ftyp(hei|hev|mif|msf)": "it is a HEIC photograph. Save it as JPEG.",
             rb".{128}DICM": "it is a DICOM file. Export it as PNG or TIFF.",
             rb"%PDF|%!PS": "it is a PDF or PostScript page. Export it as PNG.",
             rb"PK|Rar!|7z\xbc\xaf|\x1f\x8b": "it is an archive. Unpack it, or give the path of one zip.",
             rb"\s*<(\?xml|svg)": "it is SVG or XML, not pixels. Export it as PNG."}


class DataError(ValueError):
    """What cannot be used: names the file, says what was found and what to do."""


class DataWarning(UserWarning):
    """What was left out of a load, and why: once per load."""


warnings.simplefilter("always", DataWarning, append=True)             # the same load run again warns again


# Which files there are

class File(NamedTuple):
    """A file on disk, in a zip or in memory, under the name that messages show."""
    name: str
    where: object                                                     # a Path, or the bytes of an upload
    member: str | None = None                                         # its name inside the zip at `where`

    def open(self):
        """A stream of its bytes that can seek."""
        if self.member is None:
            return open(self.where, "rb") if isinstance(self.where, Path) else io.BytesIO(self.where)
        archive = _held(zipfile.ZipFile, self._replace(member=None))
        if (size := archive.getinfo(self.member).file_size) > 2 ** 31:
            raise DataError(f"it would unpack to {size / 2 ** 30:.0f} GB. Unpack it and give the folder.")
        return io.BytesIO(archive.read(self.member))


_open = {}                                                            # kind -> (stamp, stream, container)


def _held(kind, file):
    """kind(stream of file), kept open for the next picture. Each process opens its own: forks share a position."""
    stamp = file, os.getpid(), file.where.stat().st_mtime_ns if isinstance(file.where, Path) else None
    if kind not in _open or _open[kind][0] != stamp:
        _release(kind)
        stream = file.open()
        try:
            _open[kind] = stamp, stream, kind(stream)
        except BaseException:
            stream.close()
            raise
    return _open[kind][2]


def _release(*kinds):
    for kind in [kind for kind in kinds or list(_open) if kind in _open]:
        _open.pop(kind)[1].close()


def _files(path):
    """The picture files that path stands for, in natural order: a list of File."""
    if isinstance(path, (bytes, bytearray, memoryview)):
        return _members(File("the upload", bytes(path)))
    if isinstance(path, dict) and "content" in path:                  # one file of an ipywidgets 8 upload
        return _members(File(path.get("name", "the upload"), bytes(path["content"])))
    if isinstance(path, dict):                                        # ipywidgets 7: {name: {"content": bytes}}
        path = [{"name": name, **upload} for name, upload in path.items()]
    if isinstance(path, (list, tuple)):                               # ipywidgets 8, or several paths
        if not path:
            raise DataError("nothing was uploaded yet. Choose a file first.")
        return [file for part in path for file in _files(part)]
    if not isinstance(path, (str, os.PathLike)):
        raise DataError(f"pictures come from a path or an upload, not from a {type(path).__name__}.")
    if re.match(r"https?://", str(path)):
        raise DataError(f"{path} is a web address. Download the file and give its path.")
    path = Path(path).expanduser()
    if os.path.isfile(path):
        return _members(File(path.name, path))
    if not os.path.isdir(path):
        raise DataError(f"there is no file or folder {path}. Check its spelling; relative paths start at {Path.cwd()}.")
    names = list(_walk(path))
    files = [File(name, path / name) for name in sorted(filter(_wanted, names), key=_natural)]
    if not files:
        kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in names)
        found = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(4)) or "nothing"
        raise DataError(f"the folder {path} holds no pictures (found: {found}). Give one with PNG, JPEG or TIFF files.")
    return files


def _walk(root):
    """The names of all files below root: through links, but into no folder twice."""
    seen = set()
    for place, folders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()                                           # a link back up ends here
            continue
        seen.add(real)
        paths = [Path(place, name) for name in names]
        yield from (p.relative_to(root).as_posix() for p in paths if p.is_file() or p.is_symlink())   # not: pipes


def _wanted(name):
    """Whether a file in a folder or zip is meant as a picture: by its suffix, and not hidden or a Mac's debris."""
    hidden = any(part[:1] == "." and part != ".." or part == "__MACOSX" for part in re.split(r"[/\\]", name))
    return name.lower().endswith(SUFFIXES) and not hidden


def _natural(name):
    """Sorts 2.png before 10.png."""
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d{1,18})", name))], name


def _members(file):
    """[file], or the pictures in it if it is a zip."""
    with file.open() as stream:
        if stream.read(2) != b"PK":
            return [file]
    try:
        names = _held(zipfile.ZipFile, file).namelist()
    except zipfile.BadZipFile:
        raise DataError(f"{file.name} is a zip that was cut off: its table of contents is missing. Download it again.")
    if any(name.endswith(".npy") for name in names):                  # an .npz
        return [file]
    files = [File(f"{file.name}/{name}", file.where, name) for name in sorted(filter(_wanted, names), key=_natural)]
    if not files:
        raise DataError(f"the zip {file.name} holds no pictures. Give one with PNG, JPEG or TIFF files.")
    return files


# Which pages they hold

class Picture(NamedTuple):
    """One picture: a file, or one page of a stack with the range (low, high) of that whole stack."""
    file: File
    kind: object = None
    page: int = 0
    span: tuple | None = None

    @property
    def name(self):
        """The name of the file, and the page counted from 1."""
        return f"{self.file.name}, page {self.page + 1}" if self.kind else self.file.name


class Tiff:
    """The pages of a TIFF: 8-bit ones from Pillow (palettes, every compression), the others from tifffile."""

    def __init__(self, stream):
        import tifffile
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)              # DataWarning says what it would log
        tiff = tifffile.TiffFile(stream)
        self.pages = [page for page in tiff.pages if not page.is_reduced]     # no thumbnails
        stream.seek(tiff.pages.next_page_offset)
        self.cut = any(stream.read(8 if tiff.is_bigtiff else 4))              # a next page is announced, but missing
        self.stream, self.image, self.whole = stream, None, None
        if len(self.pages) == 1 and tiff.series[0].is_truncated:              # ImageJ over 4 GB: one header, many pages
            self.whole = tiff.series[0].asarray(out="memmap").reshape(-1, *self.pages[0].shape)

    def __len__(self):
        return len(self.pages) if self.whole is None else len(self.whole)

    def __getitem__(self, i):
        """Page i, upright: an Image, or an array (H, W) or (H, W, C)."""
        if self.whole is not None:
            return self.whole[i]
        page = self.pages[i]
        if page.imagewidth * page.imagelength > 2 * Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError
        try:
            if page.dtype not in (np.uint8, bool):
                return _turned(page)
        except ValueError as error:                                   # LZW and others, without the imagecodecs package
            if "imagecodecs" not in str(error):
                raise
        self.image = self.image or Image.open(self.stream, formats=["TIFF"])
        self.image.seek(page.index)
        return ImageOps.exif_transpose(self.image)


def _turned(page):
    """The array of a TIFF page, channels last: upright, missing values as NaN, dark as low."""
    a = page.asarray()
    if page.axes == "SYX":                                            # channels stored one after the other
        a = np.moveaxis(a, 0, -1)
    if page.extrasamples and page.extrasamples[0] not in (1, 2):      # further channels that are no transparency
        a = a[..., :-len(page.extrasamples)]
    if 42113 in page.tags:                                            # GDAL_NODATA, in elevation models
        a = np.where(a == page.nodata, np.nan, a)
    if page.photometric == 0:                                         # white is zero
        a = -a.astype(float)
    turn = page.tags.valueof(274, default=1) - 1                      # EXIF orientation
    a = a.swapaxes(0, 1) if turn & 4 else a
    y, x = [(1, 1), (1, -1), (-1, -1), (-1, 1)][turn & 3]
    return a[::y, ::x]


def arrays(stream):
    """The array in an .npy, or `images` in an .npz: (N, H, W), (N, H, W, C) or (N, C, H, W)."""
    try:
        a = np.load(stream, allow_pickle=False)
        a = {"images": a} if isinstance(a, np.ndarray) else a
        names, a = list(a), a["images"] if "images" in a else None
    except Exception as error:
        raise DataError(f"its arrays cannot be read ({error}). Save them anew with np.savez(path, images=...).")
    if a is None:
        raise DataError(f"it holds no array 'images', only {names}. Save it with np.savez(path, images=...).")
    if a.ndim not in (3, 4):
        raise DataError(f"its array has the shape {a.shape}, not (N, H, W) or (N, H, W, C). Reshape it.")
    return np.moveaxis(a, 1, -1) if a.ndim == 4 and a.shape[1] in (1, 3, 4) and a.shape[3] not in (1, 3, 4) else a


def _pictures(files):
    """(pictures, skipped): every page of every file, and a sentence for each file that is none."""
    pictures, skipped = [], []
    for file in files:
        try:
            with file.open() as stream, _large():
                head = stream.read(6)
                kind = Tiff if head.startswith(TIFF) else arrays if head.startswith((b"\x93NUMPY", b"PK\3\4")) else None
                if kind is None:
                    Image.open(stream, formats=FORMATS)               # reads the header only
            pages = [Picture(file, kind, i) for i in range(len(_held(kind, file)))] if kind else [Picture(file)]
            if not pages:
                raise DataError("it holds no picture.")
            span = _span(pages) if kind else None
            pictures += [page._replace(span=span) for page in pages]
            if kind is Tiff and _held(kind, file).cut:
                skipped.append(f"{file.name} is cut off after page {len(pages)}. Copy it again to have them all.")
        except Exception as error:                                    # broken files make decoders raise anything
            skipped.append(_why(Picture(file), error))
    return pictures, skipped


@contextmanager
def _large():
    """No warning of pictures that are large, but below Pillow's limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _span(pages):
    """(low, high) over all pages of a stack, one in memory at a time; None if it has 8 bits."""
    spans = []
    for page in tqdm(pages, "range", disable=len(pages) < MANY, leave=False):
        try:
            a = _decoded(page)
            if isinstance(a, Image.Image):
                return None
            spans.append(_range(_colour_alpha(a)[0]))
        except Exception:                                             # told when this page is read for good
            continue
    return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None


def _why(picture, error):
    """A sentence or two: what is wrong with this picture, and what to do."""
    if isinstance(error, DataError):
        return f"{picture.name}: {error}"
    if isinstance(error, Image.DecompressionBombError):
        return f"{picture.name} would unpack to over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Make it smaller first."
    try:
        with picture.file.open() as stream:
            head = stream.read(132)
    except Exception as cause:
        return f"{picture.name} cannot be opened ({cause})."
    if not head:
        return f"{picture.name} is empty (0 bytes). Copy it again."
    begins = f"{picture.name} is not a readable picture: it begins with {head[:14].decode('latin1')!r}"
    for pattern, words in STRANGERS.items():
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"{begins}, so {words}"
    if isinstance(error, Image.UnidentifiedImageError) and not head.startswith(PICTURES):
        return f"{begins}. Save it as PNG, JPEG or TIFF."
    return f"{picture.name} is damaged or of a rare kind ({error}). Copy it again, or save it as PNG."


# One picture

def _decoded(picture, mode=None, size=None):
    """The picture, upright: an Image if it has 8 bits a channel, else an array (H, W) or (H, W, C).

    With a size, a JPEG may come in `mode` and at a reduced scale with at least twice that many pixels a side.
    """
    if picture.kind:
        with _large():
            a = _held(picture.kind, picture.file)[picture.page]
    else:
        with picture.file.open() as stream, _large():
            a = Image.open(stream, formats=FORMATS)
            deep = "16B" in str(a.tile) and a.mode in ("RGB", "RGBA")
            if size:
                a.draft(mode, (2 * size, 2 * size))
            a = ImageOps.exif_transpose(a)                                    # loads it, too
            if deep:                                                  # of 16-bit colour Pillow keeps the upper 8 bits
                a = np.asarray(a, np.uint16) * 257
    if isinstance(a, Image.Image):
        return np.asarray(a) if a.mode.startswith(("I", "F")) else a
    if a.dtype == bool:
        a = a * np.uint8(255)
    if a.ndim == 3 and a.shape[2] == 1:
        a = a[..., 0]
    if a.dtype.kind not in "uif" or a.ndim != 2 and a.shape[2] not in (2, 3, 4):
        raise DataError(f"its pixels have the shape {a.shape} and the type {a.dtype}. Save it as grey or RGB.")
    return Image.fromarray(np.ascontiguousarray(a)) if a.dtype == np.uint8 else a


def _colour_alpha(a):
    """(H, W, 2 or 4) -> colours and opacity in [0, 1]; without transparency the opacity is 1."""
    if a.ndim == 2 or a.shape[2] == 3:
        return a, 1.0
    return np.squeeze(a[..., :-1], 2) if a.shape[2] == 2 else a[..., :3], \
        a[..., -1] / (np.iinfo(a.dtype).max if a.dtype.kind in "ui" else 1)


def _range(a):
    a = a[np.isfinite(a)]
    if not a.size:
        raise DataError("it holds no finite number.")
    return float(a.min()), float(a.max())


def _box(width, height):
    """The centre square: (left, top, right, bottom), with halves."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _tensor(raw, size, channels, span=None):
    """A decoded picture -> (channels, size, size), float32 in [-1, 1]."""
    if isinstance(raw, Image.Image):
        if raw.has_transparency_data:
            raw = Image.alpha_composite(Image.new("RGBA", raw.size, "white"), raw.convert("RGBA"))
        bands = [raw.convert("L" if channels == 1 else "RGB")]
    else:
        a, alpha = _colour_alpha(raw)
        own = _range(a)                                               # a page without any number is refused here
        low, high = span or own
        a = a.astype(np.float64) / 2 - low / 2                        # halves: high - low may overflow
        a = np.nan_to_num(a / max(high / 2 - low / 2, np.finfo(float).tiny), nan=0, posinf=1, neginf=0)
        a = a @ np.array([0.299, 0.587, 0.114]) if channels == 1 and a.ndim == 3 else a
        bands = [1 - (1 - band) * alpha for band in np.moveaxis(np.atleast_3d(a), -1, 0)]
        bands = [Image.fromarray((255 * band).astype(np.float32)) for band in bands]
    bands = [np.asarray(b.resize((size, size), Image.Resampling.BICUBIC, _box(*b.size)), np.float32) for b in bands]
    a = np.dstack(bands).clip(0, 255) / 127.5 - 1                     # bicubic overshoots at edges
    return torch.from_numpy(a).permute(2, 0, 1).expand(channels, -1, -1).contiguous()


def _mask(raw, size):
    """A decoded mask -> values (size, size), low, high: nearest pixels of the same square, colours made 0 or 255."""
    if isinstance(raw, Image.Image):
        if raw.has_transparency_data:
            raw = Image.alpha_composite(Image.new("RGBA", raw.size, "black"), raw.convert("RGBA"))
        raw = np.asarray(raw.convert("RGB"))
    a = _colour_alpha(raw)[0]
    if a.ndim == 3:
        bright = a.max(-1)
        coloured = (bright - a.min(-1).astype(float)).max() > bright.max() / 8      # more than the noise of a JPEG
        a = (bright > bright.max() / 4) * np.uint8(255) if coloured else bright
    left, top, right, _ = _box(a.shape[1], a.shape[0])
    near = (np.arange(size) + 0.5) * (right - left) / size
    return a[(top + near).astype(int)][:, (left + near).astype(int)], *_range(a)


def _foreground(masks):
    """[(values, low, high)] -> (N, 1, size, size), 0 or 1: one rule for the whole set, since one mask may be blank."""
    low, high = min(0, *(m[1] for m in masks)), max(m[2] for m in masks)
    whole = all(m[0].dtype.kind in "ui" for m in masks)
    labels = whole and not (250 <= high <= 255 or high == 65535)      # 250: what a JPEG may leave of 255
    y = torch.stack([torch.from_numpy(m[0] > (0 if labels else (low + high) / 2)) for m in masks])[:, None].float()
    if y.min() == y.max():
        warnings.warn(f"the masks mark {'everything' if y.max() else 'nothing'}. Are they the right files?",
                      DataWarning, stacklevel=3)
    return y


# Loading

def load_images(path, size, channels=1, names=False):
    """Every picture in path: (N, channels, size, size), float32 in [-1, 1], grey or (channels=3) colour.

    path: a picture, a folder (searched to the bottom, in natural order), a zip, a TIFF (every page is a picture), an
    .npz with `images`, the value of an upload widget (ipywidgets 7 or 8) or plain bytes, or a list of these.
    names=True: also N names, such as "AD/388206_78.jpeg" or "stack.tif, page 3", to make the groups of split() from.
    Raises DataError if no picture can be read; warns once (DataWarning) of those left out.
    """
    _check(size, channels)
    try:
        files = _files(path)
        cache = CACHE / f"{_fingerprint(files, size, channels)}.npz" if len(files) >= MANY else None
        x, found, skipped = _recall(cache)
        if x is None:
            (pictures, skipped), x, found = _pictures(files), [], []
            for picture in tqdm(pictures, "reading", disable=len(pictures) < MANY, leave=False):
                try:
                    raw = _decoded(picture, "L" if channels == 1 else "RGB", size)
                    x.append(_tensor(raw, size, channels, picture.span))
                    found.append(picture.name)
                except Exception as error:
                    skipped.append(_why(picture, error))
            x = torch.stack(x) if x else torch.empty(0)
            _remember(cache, x, found, skipped)
        _report(len(x), skipped)
        return (x, found) if names else x
    finally:
        _release()


class ImageFiles(torch.utils.data.Dataset):
    """The same pictures, read one at a time: item i is (channels, size, size), float32 in [-1, 1].

    For sets that do not fit in memory. `names` says what item i is. A picture that turns out to be damaged is replaced
    by the next good one, with a DataWarning.
    """

    def __init__(self, path, size, channels=1):
        _check(size, channels)
        self.size, self.channels, self.damaged = size, channels, set()
        self.pictures, skipped = _pictures(_files(path))
        self.names = [picture.name for picture in self.pictures]
        _release()
        _report(len(self.pictures), skipped)

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        first, n, why = range(len(self))[i], len(self), ""            # an IndexError here ends a for loop
        for picture in (self.pictures[(first + step) % n] for step in range(n)):
            try:
                raw = _decoded(picture, "L" if self.channels == 1 else "RGB", self.size)
                return _tensor(raw, self.size, self.channels, picture.span)
            except Exception as error:
                why = _why(picture, error)
                if picture.name not in self.damaged:
                    self.damaged.add(picture.name)
                    warnings.warn(f"{why} The next picture takes its place.", DataWarning, stacklevel=2)
        raise DataError(f"none of the {n} pictures can be read. The last: {why}")


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
        pairs, skipped = _paired(images, masks)
        x, y = [], []
        for image, mask in tqdm(pairs, "reading", disable=len(pairs) < MANY, leave=False):
            reading = image
            try:
                a, reading = _decoded(image), mask
                b = _decoded(mask)
                one, other = [r.size if isinstance(r, Image.Image) else r.shape[1::-1] for r in (a, b)]
                values, reading = _mask(b, size), image
                x.append(_tensor(a, size, 1, image.span))
                y.append(values)
            except Exception as error:
                skipped.append(_why(reading, error))
                continue
            if one != other:
                raise DataError("{} is {} x {} pixels, but its mask {} is {} x {}. Export both at one size."
                                .format(image.name, *one, mask.name, *other))
        _report(len(x), skipped)
        return torch.stack(x), _foreground(y)
    finally:
        _release()


def _check(size, channels):
    if not isinstance(size, int) or size < 1 or channels not in (1, 3):
        raise DataError(f"size must be a whole number above 0 and channels 1 or 3; found {size!r} and {channels!r}.")


def _report(n, skipped):
    if not n and len(skipped) == 1:
        raise DataError(skipped[0])
    if not n:
        raise DataError(f"none of the {len(skipped)} files can be read. The first: {skipped[0]}")
    if skipped:
        more = [f"and {len(skipped) - 10} more"] if len(skipped) > 10 else []
        text = "\n- ".join([f"{n} pictures are loaded, {len(skipped)} left out:", *skipped[:10], *more])
        warnings.warn(text, DataWarning, stacklevel=3)


# Pairing

MASK_WORDS = set("mask masks label labels gt groundtruth truth seg segmentation annotation annotations".split())
WORDS = MASK_WORDS | set("ground image images img im in out".split())


def _tokens(name, drop=()):
    """'scan_010_Mask.png' -> ('scan', 10): its words and numbers, without words that only say what it is."""
    parts = re.findall(r"\d{1,18}|[^\W\d_]+", str(Path(name).with_suffix("")).lower())
    return tuple(int(part) if part.isdigit() else part for part in parts if part not in drop)


KEYS = [lambda p: (str(Path(p.file.name).with_suffix("")), p.page),   # how names may agree, the strictest first
        lambda p: (*_tokens(p.file.name, WORDS), p.page),
        lambda p: (*_tokens(Path(p.file.name).name, WORDS), p.page),
        lambda p: (*[part for part in _tokens(Path(p.file.name).name) if isinstance(part, int)], p.page)]


def _paired(images, masks):
    """([(picture, its mask)], skipped)."""
    sides = [_files(images), _files(masks)]
    if sides[0] == sides[1]:                                          # one folder holds both
        marked = [bool(MASK_WORDS & set(_tokens(Path(file.name).name))) for file in sides[0]]
        sides = [[file for file, mark in zip(sides[0], marked) if mark == side] for side in (False, True)]
    (a, skipped), (b, more) = _pictures(sides[0]), _pictures(sides[1])
    skipped += more
    if not a or not b:
        _report(0, skipped or ["no file is named like a mask (x and x_mask). Give the folder of the masks as well."])
    if len(sides[0]) == len(sides[1]) == 1:
        if len(a) != len(b):
            raise DataError("{} has {} pages, but {} has {}. Give stacks that match page by page."
                            .format(sides[0][0].name, len(a), sides[1][0].name, len(b)))
        return list(zip(a, b)), skipped
    for key in KEYS:
        mine, theirs = {key(p): p for p in a}, {key(p): p for p in b}
        both = [k for k in mine if k in theirs]
        if len(mine) == len(a) and len(theirs) == len(b) and 2 * len(both) >= len(a):
            lone = [f"{mine[k].name} has no mask." for k in mine if k not in theirs]
            lone += [f"{theirs[k].name} is a mask without a picture." for k in theirs if k not in mine]
            return [(mine[k], theirs[k]) for k in both], skipped + lone
    raise DataError(f"most of the {len(a)} pictures have no mask among the {len(b)} ({a[0].name}, {b[0].name} do not "
                    "match). Name each mask like its picture: x.png and x_mask.png.")


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


# The cache

def _fingerprint(files, *settings):
    """A name for this content under these settings, read by this code."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + repr((settings, [file.name for file in files])).encode())
    for where in dict.fromkeys(file.where for file in files):
        try:
            digest.update(where if isinstance(where, bytes) else hashlib.sha256(where.read_bytes()).digest())
        except OSError as error:                                      # told when it is read
            digest.update(repr(error).encode())
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
