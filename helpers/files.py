"""Which images a path stands for, how one is decoded, what is wrong with a bad one. helpers/data.py builds on it.

Files are only read: nothing is unpacked to disk, nothing in them is executed. Several threads may read at once.
"""
import inspect
import io
import logging
import os
import re
import stat
import threading
import warnings
import weakref
import zipfile
from collections import Counter
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

MANY = 200                                                            # from here on: a progress bar, and a cache
Image.init()                                                          # no EPS below: Pillow would run Ghostscript
FORMATS = [name for name in "PNG JPEG TIFF BMP GIF WEBP PPM JPEG2000 ICO AVIF".split() if name in Image.OPEN]
SUFFIXES = tuple(".png .jpg .jpeg .jpe .jfif .tif .tiff .bmp .gif .webp .ppm .pgm .pbm .pnm .pfm .jp2 .ico .avif "
                 ".npz .npy .heic .heif .dcm".split())                # the last three: left out, and it is said why
HIDDEN = re.compile(r"(^|[/\\])(\.[^./\\]|__MACOSX[/\\])")
TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
MAGIC = *TIFF, b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM"
OTHER_FORMATS = {rb"\s*<(!doctype|html)": "a web page was saved in its place. Download the file itself.",
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


def warn(text):
    """Give a DataWarning, as often as it comes up, at the line outside the helpers that led here."""
    frame = inspect.currentframe()
    helpers = os.path.join(os.path.dirname(__file__), "")
    while frame.f_back and frame.f_code.co_filename.startswith(helpers):
        frame = frame.f_back
    place = frame.f_code.co_filename, frame.f_lineno
    warnings.warn_explicit(text, DataWarning, *place, registry={})    # an empty registry knows of no earlier warning


LOCK = threading.RLock()


@contextmanager
def _alone():
    """A context for one thread at a time, since open files and the settings restored here are shared.

    Without Pillow's warning of large images (twice as large is an error) and tifffile's log (DataWarning says it all).
    """
    log = logging.getLogger("tifffile")
    with LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        level = log.level
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(level)


def _image(stream):
    """The Image in a stream, of which only the header is read."""
    with _alone():
        return Image.open(stream, formats=FORMATS)


class Span(NamedTuple):
    """The values that become black and white in a whole file, and a value that may only mark missing pixels."""
    low: float
    high: float
    fill: float | None = None


class ImageFile(NamedTuple):
    """An image file on disk, in a zip or in memory; or one page of such a file."""
    name: str                                                         # as messages show it
    where: object                                                     # a Path, or the bytes of an upload
    member: str | None = None                                         # its name inside the zip at `where`
    kind: object = None                                               # Tiff or arrays: the stack it is a page of
    page: int = 0
    span: Span | None = None                                          # of that whole stack

    def open(self):
        """A stream of the file's bytes that can seek."""
        if self.member is None:
            return open(self.where, "rb") if isinstance(self.where, Path) else io.BytesIO(self.where)
        with _alone():
            archive = opened(zipfile.ZipFile, self.where)
            if (size := archive.getinfo(self.member).file_size) > 2 ** 31:
                raise DataError(f"it would unpack to {size / 2 ** 30:.0f} GB. Unpack it and give the folder.")
            return io.BytesIO(archive.read(self.member))


@lru_cache(4)                                                         # enough for two stacks, each in a zip
def opened(kind, where, member=None):
    """kind(stream of a file): a ZipFile, a Tiff or arrays, kept open for the next image; to be used _alone()."""
    stream = ImageFile("", where, member).open()
    try:
        container = kind(stream)
    except BaseException:
        stream.close()
        raise
    weakref.finalize(container, stream.close)
    return container


def _forked():
    """In a worker process, forget open files and locks of the parent: positions in streams would be shared."""
    global LOCK
    LOCK = threading.RLock()
    opened.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def find(path):
    """The image files that path stands for, in natural order: a list of ImageFile."""
    opened.cache_clear()                                              # what an earlier load left open may have changed
    if isinstance(path, (bytes, bytearray, memoryview)):
        return _members("the upload", bytes(path))
    if isinstance(path, dict) and "content" in path:                  # one file of an ipywidgets 8 upload
        return _members(path.get("name", "the upload"), bytes(path["content"]))
    if isinstance(path, dict):                                        # ipywidgets 7: {name: {"content": bytes}}
        path = [{"name": name, **upload} for name, upload in path.items()]
    if isinstance(path, (list, tuple)):                               # ipywidgets 8, or several paths
        if not path:
            raise DataError("nothing was uploaded yet. Choose a file first.")
        return [file for part in path for file in find(part)]
    if not isinstance(path, (str, os.PathLike)):
        raise DataError(f"images come from a path or an upload, not from a {type(path).__name__}.")
    if re.match(r"https?://", str(path)):
        raise DataError(f"{path} is a web address. Download the file and give its path.")
    path = Path(path).expanduser()
    if os.path.isfile(path):
        return _members(path.name, path)
    if not os.path.isdir(path):
        raise DataError(f"there is no file or folder {path}. Check its spelling; relative paths start at {Path.cwd()}.")
    names, lost = _below(path)
    names = [] if lost and not _meant(names) else _wanted(f"the folder {path}", names)
    return [ImageFile(name, path / name) for name in names + lost]


def folders(root):
    """(folder, names in it), from root to the bottom, in order of names; the names are None if it may not be read.

    Links are followed, except to a folder that holds the one the link is in: that would go round in circles. Hidden
    folders are passed over.
    """
    todo = [(Path(root), ())]
    while todo:
        folder, above = todo.pop()
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            yield folder, None
            continue
        yield folder, names
        above = (*above, Path(os.path.realpath(folder)))
        for name in reversed(names):
            if os.path.isdir(folder / name) and not HIDDEN.search(f"{name}/"):
                target = os.path.realpath(folder / name)
                if not any(place.is_relative_to(target) for place in above):
                    todo.append((folder / name, above))


def _below(root):
    """The names of all files below root; and of what may have been a folder of images, but cannot be entered."""
    found = []
    lost = []
    for folder, names in folders(root):
        if names is None:
            lost.append(folder.relative_to(root).as_posix())
        for path in [folder / name for name in names or ()]:
            name = path.relative_to(root).as_posix()
            if path.is_file() or path.suffix and _broken(path):       # no pipes, no folders; but broken links
                found.append(name)
            elif not path.suffix and _broken(path) and not HIDDEN.search(name):
                lost.append(name)
    return found, lost


def _broken(path):
    """Whether path is a link to what is not there."""
    return os.path.islink(path) and not os.path.exists(path)


def _members(name, where):
    """The file itself, or the images in it if it is a zip."""
    with ImageFile(name, where).open() as stream:
        if stream.read(2) != b"PK":
            return [ImageFile(name, where)]
    try:
        with _alone():
            inside = opened(zipfile.ZipFile, where).infolist()
    except zipfile.BadZipFile:
        raise DataError(f"{name} is a zip that was cut off: its table of contents is missing. "
                        "Download it again.") from None
    members = [info.filename for info in inside]
    if any(member.endswith(".npy") for member in members):            # an .npz
        return [ImageFile(name, where)]
    lost = [info.filename for info in inside if _link(info) and not Path(info.filename).suffix]
    members = [] if lost and not _meant(members) else _wanted(f"the zip {name}", members)
    return [ImageFile(f"{name}/{member}", where, member) for member in members + lost]


def _link(info):
    """Whether a member of a zip is a link, which zip -y stores in place of what it leads to."""
    return stat.S_ISLNK(info.external_attr >> 16)


def _meant(names):
    """The names meant as images: by their suffix, and not hidden or a Mac's debris."""
    return [name for name in names if name.lower().endswith(SUFFIXES) and not HIDDEN.search(name)]


def _wanted(place, names):
    """The names meant as images, 2.png before 10.png; DataError if there are none."""
    def natural(name):
        return [int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d{1,18})", name))], name
    if wanted := _meant(names):
        return sorted(wanted, key=natural)
    kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in names).most_common(4)
    found = ", ".join(f"{n} {kind}" for kind, n in kinds) or "nothing"
    raise DataError(f"{place} holds no images (found: {found}). Give one with PNG, JPEG or TIFF files.")


class Tiff:
    """The pages of a TIFF: 8-bit ones from Pillow (palettes, every compression), the others from tifffile."""

    def __init__(self, stream):
        import tifffile
        tiff = tifffile.TiffFile(stream)
        self.stream = stream
        self.image = None
        self.pages = [page for page in tiff.pages if not page.is_reduced]     # no thumbnails
        stream.seek(tiff.pages.next_page_offset)
        self.cut = any(stream.read(8 if tiff.is_bigtiff else 4))              # a next page is announced, but missing
        self.cut |= len(self.pages) == 1 and tiff.series[0].is_truncated      # ImageJ over 4 GB: one header for all

    def __len__(self):
        return len(self.pages)

    def read(self, i, missing):
        """Page i, its nodata pixels being missing: an upright Image, or an array (H, W) or (H, W, C)."""
        page = self.pages[i]
        if page.imagewidth * page.imagelength > 2 * Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError
        nodata = self._nodata(page)
        try:
            if page.dtype not in (np.uint8, bool):
                a = _without(page.asarray(), nodata, missing)
                return a if page.photometric else -a.astype(float)    # 0: white is zero
        except ValueError as error:                                   # LZW and others, without the imagecodecs package
            if "imagecodecs" not in str(error):
                raise
        self.image = self.image or Image.open(self.stream, formats=["TIFF"])
        self.image.seek(page.index)
        a = ImageOps.exif_transpose(self.image)
        if a.mode.startswith(("I", "F")):
            return _without(np.asarray(a), nodata, missing)
        if nodata is not None and not page.photometric:
            nodata = 255 - nodata                                     # Pillow has made white 255
        return _blackened(a, nodata)

    def _nodata(self, page):
        """The value that GDAL's tag names as the mark of missing pixels; None without the tag.

        https://gdal.org/en/stable/drivers/raster/gtiff.html#nodata-value
        """
        for source in (page, self.pages[0]):                          # some writers tag the first page for all
            try:
                return float(str(source.tags[42113].value).strip("\0 "))
            except (AttributeError, KeyError, ValueError):
                continue
        return None


def _without(a, nodata, missing):
    """An array whose nodata pixels are missing (NaN or 0)."""
    if nodata is None:
        return a
    if a.dtype.kind != "f":
        found = a == nodata
    else:                                                             # the tag holds decimals, the pixels binary digits
        near = 1e-6 if abs(nodata) < 1e30 else 0.01
        with np.errstate(over="ignore"):
            value = np.clip(nodata, np.finfo(a.dtype).min, np.finfo(a.dtype).max)
            found = (a == nodata) | np.isclose(a.astype(float), float(value), rtol=near, atol=0)
    return np.where(found, missing, a) if found.any() else a


def _blackened(image, nodata):
    """An 8-bit Image whose nodata pixels are black."""
    if nodata is None or image.mode == "1":
        return image
    image = image if image.mode in ("L", "LA", "P", "PA", "RGB", "RGBA") else image.convert("RGB")
    found = np.asarray(image) == nodata
    found = found[..., :-1] if image.mode in ("LA", "PA", "RGBA") else found
    found = found.all(-1) if found.ndim == 3 else found               # in every band: one at 255 is a bright colour
    if found.any():
        palette = image.mode in ("P", "PA")
        image = image.convert("RGBA" if image.has_transparency_data else "RGB") if palette else image
        image.paste("black", mask=Image.fromarray(found))
    return image


def arrays(stream):
    """The array in an .npy, or `images` in an .npz: (N, H, W), (N, H, W, C) or (N, C, H, W)."""
    try:
        a = np.load(stream, allow_pickle=False)
        a = a if isinstance(a, np.ndarray) else a["images"] if "images" in a else [*a]
    except Exception as error:
        raise DataError(f"its arrays cannot be read ({error}). "
                        "Save them again with np.savez(path, images=...).") from error
    if isinstance(a, list):
        raise DataError(f"it holds no array 'images', only {a}. Save it with np.savez(path, images=...).")
    if a.ndim not in (3, 4):
        raise DataError(f"its array has the shape {a.shape}, not (N, H, W) or (N, H, W, C). Reshape it.")
    return np.moveaxis(a, 1, -1) if a.ndim == 4 and a.shape[1] in (1, 3, 4) and a.shape[3] not in (1, 3, 4) else a


def pages(files):
    """(images, skipped): every page of every file as an ImageFile, and a sentence for each file that is none."""
    images = []
    skipped = []
    for file in files:
        try:
            with file.open() as stream:
                head = stream.read(6)
                kind = Tiff if head.startswith(TIFF) else arrays if head.startswith((b"\x93NUMPY", b"PK\3\4")) else None
                if kind is None:
                    _image(stream)
                    images.append(file)
                    continue
            with _alone():
                stack = opened(kind, file.where, file.member)
            n = len(stack)
            if not n:
                raise DataError("it holds no image.")
            new = [file._replace(name=f"{file.name}, page {i + 1}", kind=kind, page=i) for i in range(n)]
            span = _span(new)
            images += [page._replace(span=span) for page in new]
            if kind is Tiff and stack.cut:
                skipped.append(f"{file.name} is cut off after page {n}. Copy it again, or save it as many files.")
        except Exception as error:                                    # broken files make decoders raise anything
            skipped.append(_why(file, error))
    return images, skipped


def _span(stack):
    """The Span of all pages of a stack, one in memory at a time; None if it has 8 bits."""
    def arrays_in(stack):
        for page in tqdm(stack, "range", disable=len(stack) < MANY, leave=False):
            try:
                a = decode(page)
            except DataError:                                         # reported when this page is read
                continue
            if isinstance(a, Image.Image):
                return
            yield a
    return value_range(arrays_in(stack))


def value_range(arrays):
    """The Span of arrays, from the lowest to the highest finite value; None if there are none."""
    ends = set()
    pixels = 0
    highest = Counter()
    for a in arrays:
        a = a[np.isfinite(a)]
        low = a.min()
        high = a.max()
        inner = a[(a > low) & (a < high)]
        ends |= {float(low), float(high)} | ({float(inner.min()), float(inner.max())} if inner.size else set())
        highest[float(high)] += np.count_nonzero(a == high)
        pixels += a.size
    if not ends:
        return None
    ends = sorted(ends)
    return Span(ends[0], ends[-1], _fill(ends, highest[ends[-1]] / pixels))


MARKS = -9999, -99999, -32768, -32767, 9999, 99999, 32767, 65535      # of missing pixels, in many an elevation model


def _fill(values, share):
    """The lowest or the highest value if all others lie so far from it that it may mark missing pixels; else None.

    values: those at both ends of a file's range, sorted. Far: the others take up less than a twentieth of the range, or
    less than half if the value is a usual mark. share: the part of the pixels that have the highest; few bright stars
    or cells on a dark ground are no mistake.
    """
    if len(values) < 4:                                               # as in a drawing or a map of labels
        return None
    low = values[0]
    high = values[-1]
    for mark, rest in ((low, high - values[1]), (high, values[-2] - low)):
        huge = abs(mark) > 1e30
        far = 2 if huge or mark in MARKS else 20
        if rest < (high - low) / far and (mark == low or huge or share > 0.01):
            return mark
    return None


def doubt(name, span):
    """A sentence on a file whose range leaves no contrast."""
    return (f"{name}: the value {span.fill:g} lies so far from all others that these become nearly one grey. If it "
            "marks missing pixels, save those as NaN, or name the value in the GeoTIFF's nodata tag.")


def decode(image, size=None, channels=1, missing=np.nan):
    """The image: an upright Image if it has 8 bits a channel, else an array (H, W) or (H, W, 3) with a finite value.

    With a size, a JPEG may come at a reduced scale, in grey if channels is 1, at least twice that many pixels a side.
    missing: what nodata pixels become in an array (NaN, or 0 in masks); in an Image they become black.
    Raises DataError with the whole sentence for whatever goes wrong.
    """
    try:
        if image.kind:
            with _alone():
                stack = opened(image.kind, image.where, image.member)
                a = stack.read(image.page, missing) if image.kind is Tiff else stack[image.page]
        else:
            with image.open() as stream:
                a = _image(stream)
                deep = "16B" in str(a.tile) and a.mode in ("RGB", "RGBA")     # Pillow keeps the upper 8 bits of these,
                if size:
                    a.draft("L" if channels == 1 else "RGB", (2 * size, 2 * size))
                a = ImageOps.exif_transpose(a)                        # loads it, too
                a = np.asarray(a, np.uint16) if deep else a           # which may be few: the range decides
        if isinstance(a, Image.Image):
            if not a.mode.startswith(("I", "F")):
                return a
            a = np.asarray(a)
        if a.dtype.kind not in "buif" or a.ndim == 3 and a.shape[2] > 4:
            raise DataError(f"its pixels have the shape {a.shape} and the type {a.dtype}. Save it as grey or RGB.")
        a = a * np.uint8(255) if a.dtype == bool else a
        if a.dtype == np.uint8:
            return Image.fromarray(np.ascontiguousarray(a.squeeze(2) if a.shape[2:] == (1,) else a))
        a = a if a.ndim == 2 else a[..., :3] if a.shape[2] > 2 else a[..., 0]
        if not np.isfinite(a).any():
            raise DataError("it holds no finite number.")
        return a
    except Exception as error:
        raise DataError(_why(image, error)) from error


def _why(image, error):
    """A sentence or two: what is wrong with this image, and what to do."""
    if isinstance(error, DataError):
        return f"{image.name}: {error}"
    if isinstance(error, Image.DecompressionBombError):
        return f"{image.name} would unpack to over {2 * Image.MAX_IMAGE_PIXELS:,} pixels. Make it smaller first."
    if image.member is None and isinstance(image.where, Path) and _broken(image.where):
        return (f"{image.name} cannot be opened: it is a link to {os.readlink(image.where)}, which is not there. "
                "Put that back, or remove the link.")
    try:
        if image.member is not None:
            with _alone():
                if _link(opened(zipfile.ZipFile, image.where).getinfo(image.member)):
                    return f"{image.name} is a link, of which a zip holds only the address. Zip the files themselves."
        with image.open() as stream:
            head = stream.read(132)
    except Exception as cause:
        return f"{image.name} cannot be opened ({cause})."
    if not head:
        return f"{image.name} is empty (0 bytes). Copy it again."
    begins = f"{image.name} is not a readable image: it begins with {head[:14].decode('latin1')!r}"
    for pattern, words in OTHER_FORMATS.items():
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return f"{begins}, so {words}"
    if isinstance(error, Image.UnidentifiedImageError) and not head.startswith(MAGIC):
        return f"{begins}. Save it as PNG, JPEG or TIFF."
    return f"{image.name} is damaged or of a rare kind ({error}). Copy it again, or save it as PNG."
