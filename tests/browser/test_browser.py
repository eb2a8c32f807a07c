"""The pages in a real browser, in JupyterLab and in the classic notebook: every widget by mouse and by keyboard alone.

`make test-browser` runs this on the pages of USUAL, which have every kind of control; PAGES="01 04" on these, PAGES=all
on all.  Page 02 runs whole, of the others what their widgets need (slices.py); with WHOLE=1 all run whole.
Pictures of each widget before and after, what was measured and what the servers said land in build/browser.
"""
import ast
import json
import os
import statistics
import time
import warnings
from pathlib import Path

import nbformat
import pytest
from fronts import Classic, Lab, end_kernels, wait_for
from slices import MAKERS, bare, cut, statements, tagged, widget_cells

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "browser"
USUAL = "02 03 05"
ASKED = os.environ.get("COURSE_BROWSER")                       # numbers of pages, or "usual", or "all"
WHOLE = os.environ.get("COURSE_WHOLE", "") not in ("", "0")
SMALL = {"01": {"steps": 20}, "05": {"samples": 8}, "06": {"samples": 72}}       # settings for pages that are cut down
PAGES = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
         if WHOLE or widget_cells(nbformat.read(path, as_version=4))]
CHOSEN = [path for path in PAGES if ASKED == "all" or path.stem[:2] in (ASKED or USUAL).replace("usual", USUAL).split()]
FRONTS = {"lab": Lab(os.environ.get("COURSE_LAB", ROOT / ".venv/bin/python")),
          "classic": Classic(os.environ.get("COURSE_CLASSIC", ROOT / ".venv-colab/bin/python"))}
OURS = "https://colab.research.google.com/assets/colab-badge.svg"        # the one picture from elsewhere: the badge
PRESSES = 7                                                    # of each slider's key, for the median
BAR = 150                                                      # ms from key to new picture, a page's median
LONGEST = 300                                                  # seconds for the site and the usual pages
if ASKED:
    import psutil
    START, BUSY = time.monotonic(), psutil.cpu_percent(1)      # before anything ran
QUIET = 20                                                     # % of the processors busy beforehand: no more than that
driven = pytest.mark.skipif(not ASKED, reason="`make test-browser` drives the pages in Chromium")

CONTROLS = ".noUi-handle, .ui-slider-handle, select, button"
WATCH = """n => {
    const root = document.querySelector(`[data-course="${n}"]`);
    const all = () => [...root.querySelectorAll(".jupyter-widgets")].flatMap(w => [...w.querySelectorAll("CONTROLS")]);
    const found = () => [...new Set([...root.querySelectorAll("button.jupyter-widgets"), ...all()])].sort(
        (a, b) => a.compareDocumentPosition(b) & 4 ? -1 : 1);
    const image = () => root.querySelector(".jupyter-widgets img, img.jupyter-widgets");
    const kind = e => e.tagName == "SELECT" ? "menu" : e.tagName == "DIV" || e.tagName == "SPAN" ? "slider"
        : e.classList.contains("widget-upload") ? "upload" : "button";
    const name = e => (e.closest(".widget-inline-hbox")?.querySelector("label")?.textContent || e.textContent).trim();
    const pixels = () => {
        const from = image(), canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [from.naturalWidth, from.naturalHeight];
        const brush = canvas.getContext("2d");
        brush.drawImage(from, 0, 0);
        const values = brush.getImageData(0, 0, canvas.width, canvas.height).data;
        let hash = 2166136261;
        for (const value of values) hash = Math.imul(hash ^ value, 16777619);
        return canvas.width && hash; };
    const course = window.course = {root, found, image, kind, name, pixels};
    course.next = () => course.took = new Promise(done => {    // ms from the next key to the frame with its picture
        let key = null;
        document.addEventListener("keydown", () => key = performance.now(), {capture: true, once: true});
        root.addEventListener("load", function loaded(event) {
            if (key === null || event.target != image()) return;
            root.removeEventListener("load", loaded, true);
            requestAnimationFrame(() => done(performance.now() - key)); }, true); });
    return found().map(e => ({kind: kind(e), name: name(e)})); }""".replace("CONTROLS", CONTROLS)


@pytest.fixture(scope="session")
def results():
    """What is measured, by front end and page; written to build/browser/results.json."""
    found = {"busy before": BUSY}
    yield found
    found["seconds"] = round(time.monotonic() - START)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "results.json").write_text(json.dumps(found, indent=1), encoding="utf8")


@pytest.fixture(scope="session", params=FRONTS)
def front(request, tmp_path_factory):
    """A front end with .address, the server of its own folder of pages, .folder."""
    chosen = FRONTS[request.param]
    if not Path(chosen.python).exists():
        pytest.fail(f"{chosen.name} has no environment: there is no {chosen.python}. `make test-browser` makes it.")
    chosen.folder, chosen.key = OUT / request.param / "pages", request.param
    chosen.folder.mkdir(parents=True, exist_ok=True)
    log = OUT / request.param / "server.log"
    with chosen.server(chosen.folder, tmp_path_factory.mktemp(request.param), log) as address:
        chosen.address = address
        yield chosen


class Watched:
    """A browser's page whose .complaints are errors in the console, failed answers and requests to other machines."""

    def __init__(self, browser, front):
        self.complaints, self.known, self.excused, address = [], [], front.KNOWN, front.address
        self.context = browser.new_context(viewport={"width": 1200, "height": 1000})
        self.context.route(lambda url: not url.startswith((address, "data:", "blob:", "ws:")), self.outside)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.choosers = []                     # listened to from the start: a listener that comes late misses windows
        self.page.on("filechooser", lambda chooser: self.choosers.append(chooser))
        self.page.on("console", lambda m: m.type == "error" and self.complain("console", m.text, m.location.get("url")))
        self.page.on("pageerror", lambda error: self.complain("uncaught", str(error), ""))
        self.page.on("response", lambda r: r.status >= 400 and self.complain(str(r.status), "", r.url))

    def complain(self, kind, text, url):
        which = self.known if any(word in f"{text} {url}" for word in self.excused) else self.complaints
        which.append(f"{kind}: {text[:300]} {url}")

    def outside(self, route):
        if route.request.url == OURS:
            route.fulfill(content_type="image/svg+xml", body="<svg xmlns='http://www.w3.org/2000/svg'/>")
        else:
            self.complain("asked for", "", route.request.url)
            route.abort()


def expected(notebook):
    """How many controls each widget of a page has, as its code says: one for each keyword, three more for a stepper."""
    calls = [n for s in statements(notebook) for n in ast.walk(s.node) if isinstance(n, ast.Call)]
    return [len(call.keywords) + 3 * (ast.unparse(call.func) == "widgets.stepper") for call in calls
            if ast.unparse(call.func) in MAKERS]


class Widget:
    """A widget on the page: .controls, and what is done to them."""

    def __init__(self, watched, front, cell):
        self.page, self.choosers, self.front, self.cell = watched.page, watched.choosers, front, cell
        page = self.page
        page.evaluate(front.SCROLL, cell)
        page.wait_for_selector(f'[data-course="{cell}"] .jupyter-widgets img', timeout=20_000)
        self.controls = page.evaluate(WATCH, cell)
        wait_for(f"cell {cell} shows no picture", self.pixels, 20)
        self.took, self.changed = {}, 0

    def at(self, i):
        return self.page.evaluate_handle("i => window.course.found()[i]", i).as_element()

    def pixels(self):
        return self.page.evaluate("() => window.course.image().complete && window.course.pixels()")

    def settled(self):
        """The picture's pixels once they no longer change."""
        last, same = self.pixels(), 0
        while same < 4:
            self.page.wait_for_timeout(40)
            now = self.pixels()
            last, same = now, same + 1 if now == last else 0
        return last

    def changes(self, what, act):
        """Do act() and wait for other pixels.  AssertionError: they stay as they are."""
        before = self.settled()
        act()
        try:
            wait_for("", lambda: self.pixels() not in (before, 0), 15)
        except TimeoutError:
            raise AssertionError(f"cell {self.cell}: {what}, and the picture stays as it was.") from None
        self.changed += 1

    def focused(self):
        return self.page.evaluate("() => window.course.found().indexOf(document.activeElement)")

    def tab_to(self, i, presses=40):
        """Press Tab until control i has the focus; how often it took.  AssertionError: it never gets there."""
        for n in range(presses):
            if self.focused() == i:
                return n
            self.page.keyboard.press("Tab")
        raise AssertionError(f"cell {self.cell}: Tab does not reach {self.controls[i]['name']!r}.")

    def timed(self, key):
        """ms from a key's event to the picture that follows."""
        self.settled()
        self.page.evaluate("() => { window.course.next(); }")
        self.page.keyboard.press(key)
        return self.page.evaluate("() => window.course.took")

    def by_keyboard(self, i):
        """Reach control i by Tab and use it by keys alone."""
        kind, name = self.controls[i]["kind"], self.controls[i]["name"]
        self.tab_to(i)
        if kind == "button":
            for key in ("Enter", "Space"):
                self.changes(f"{key} on {name!r}", lambda key=key: self.page.keyboard.press(key))
        elif kind == "menu":
            choices, now = self.page.evaluate(
                "i => { const e = window.course.found()[i]; return [e.options.length, e.selectedIndex]; }", i)
            self.changes(f"Space, an arrow and Enter on {name!r}", lambda: [self.page.keyboard.press(key) for key in (
                "Space", "ArrowDown" if now < choices - 1 else "ArrowUp", "Enter")])
        elif kind == "slider":
            self.changes(f"ArrowLeft on {name!r}", lambda: self.page.keyboard.press("ArrowLeft"))
            self.changes(f"ArrowRight on {name!r}", lambda: self.page.keyboard.press("ArrowRight"))
            self.took[name] = [round(self.timed(("ArrowLeft", "ArrowRight")[k % 2])) for k in range(PRESSES)]
        elif kind == "upload":
            self.changes(f"an upload by Enter on {name!r}", lambda: self.choose(
                UPLOAD, lambda: self.page.keyboard.press("Enter")))
        assert self.focused() == i, f"cell {self.cell}: {name!r} loses the focus when its key is pressed."

    def by_mouse(self, i):
        kind, name, control = self.controls[i]["kind"], self.controls[i]["name"], self.at(i)
        control.scroll_into_view_if_needed()
        if kind == "button":
            self.changes(f"a click on {name!r}", control.click)
        elif kind == "slider":
            self.changes(f"dragging {name!r}", lambda: self.drag(control))
        elif kind == "menu":
            values = [option.get_attribute("value") for option in control.query_selector_all("option")]
            now = control.evaluate("e => e.selectedIndex")
            self.changes(f"choosing in {name!r}", lambda: control.select_option(values[now - 1]))
        elif kind == "upload":
            self.changes(f"an upload by a click on {name!r}", lambda: self.choose(OTHER, control.click))

    def choose(self, file, act):
        """Do act(), which should ask for a file, and hand over this one."""
        self.choosers.clear()
        act()
        end = time.monotonic() + 15
        while not self.choosers and time.monotonic() < end:
            self.page.wait_for_timeout(50)     # lets Playwright hear of it
        assert self.choosers, f"cell {self.cell}: no window to choose a file opens."
        self.choosers.pop().set_files(file)

    def drag(self, handle):
        """Take a slider's handle to the other side of its middle, in steps, as a hand does."""
        box = handle.bounding_box()
        track = handle.evaluate("e => { const b = e.closest('.slider-container').getBoundingClientRect();"
                                " return [b.left, b.width]; }")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        to = track[0] + track[1] * (0.8 if x < track[0] + track[1] / 2 else 0.2)
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(to, y, steps=8)
        self.page.mouse.up()

    def picture(self, name):
        self.settled()
        self.page.locator(f'[data-course="{self.cell}"]').screenshot(path=OUT / self.front.key / f"{name}.png")


UPLOAD, OTHER = OUT / "upload.png", OUT / "other.png"


@pytest.fixture(scope="session", autouse=True)
def uploads():
    if ASKED:
        from PIL import Image
        OUT.mkdir(parents=True, exist_ok=True)
        Image.radial_gradient("L").save(UPLOAD)
        Image.linear_gradient("L").save(OTHER)


@driven
@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.stem[:2])
def test_every_widget_by_mouse_and_by_keyboard(front, path, browser, results):
    saved = nbformat.read(path, as_version=4)
    whole = WHOLE or path.stem[:2] == "02"
    notebook = bare(saved) if whole else cut(saved, SMALL.get(path.stem[:2]))
    nbformat.write(notebook, front.folder / path.name)
    watched, told = Watched(browser, front), results.setdefault(front.key, {}).setdefault(path.stem, {})
    page = watched.page
    try:
        told["busy before"] = busy()
        front.open(page, front.address, path.name)
        front.run(page, 1800 if whole else 240)
        told |= {"whole": whole, **look_at_outputs(page, front, notebook), "widgets": {}}
        cells, counts = widget_cells(notebook), expected(notebook)
        assert len(cells) == len(counts)
        for cell, count in zip(cells, counts):
            widget = Widget(watched, front, cell)
            assert len(widget.controls) == count, f"cell {cell} should have {count} controls; found {widget.controls}."
            name = f"{path.stem[:2]}-{cell:02}"
            words = page.evaluate("() => window.course.image().alt")
            assert words, f"The picture of the widget in cell {cell} has no alternative text."
            widget.picture(f"{name}-before")
            front.to_widget(page, cell)
            for i in range(count):
                widget.by_keyboard(i)
            widget.picture(f"{name}-by-keyboard")
            for i in range(count):
                widget.by_mouse(i)
            widget.picture(f"{name}-by-mouse")
            told["widgets"][f"cell {cell}"] = {
                "controls": [f"{c['kind']} {c['name']}" for c in widget.controls], "changes": widget.changed,
                "ms": widget.took}
        assert watched.complaints == [], "The browser's console should be empty."
        if waits := [ms for cell in told["widgets"].values() for times in cell["ms"].values() for ms in times]:
            told["median ms"] = statistics.median(waits)
            told["median ms of the slowest slider"] = max(statistics.median(times) for cell in told["widgets"].values()
                                                          for times in cell["ms"].values())
            held_to(BAR, "ms from key to picture", told["median ms"], told["busy before"])
    except BaseException:
        page.screenshot(path=OUT / front.key / f"{path.stem[:2]}-failed.png")
        raise
    finally:
        told["console"], told["of notebook 6 itself"] = watched.complaints, watched.known
        watched.context.close()
        end_kernels(front.address)


def busy(seconds=6):
    """% of the processors busy in the quietest of some seconds: what this test itself began may end first."""
    least = 100
    for _ in range(seconds):
        least = min(least, psutil.cpu_percent(1))
        if least < QUIET:
            break
    return least


def held_to(bar, what, value, busy):
    """AssertionError: the value is above the bar.  Where other programs were busy before, only a warning says so."""
    if value > bar:
        said = f"{value:.0f} {what}; the bar is {bar}. Other programs kept {busy:.0f} % of the processors busy."
        assert busy >= QUIET, said
        warnings.warn(said, stacklevel=2)


def look_at_outputs(page, front, notebook):
    """Counts of exercises and figures on the page.  AssertionError: an answer is not shown, a figure has no words."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    told = {"exercises": 0, "figures": 0, "figures shown without their words": 0}
    for i, cell in enumerate(code):
        page.evaluate(front.SCROLL, i)
        there = page.locator(f'[data-course="{i}"]')
        if tagged(cell, "exercise"):
            status = there.locator('[role="status"]')
            status.wait_for(timeout=10_000)
            assert status.inner_text().strip(), f"The exercise in code cell {i} shows an empty answer."
            told["exercises"] += 1
        words, shown = page.evaluate(front.WORDS, i), there.locator("img").count()
        assert shown >= len(words) and all(words), f"Code cell {i} shows {shown} figures; their words are {words}."
        silent = there.evaluate("e => [...e.querySelectorAll('img')].filter(i => !i.alt).length")
        told["figures"] += shown
        told["figures shown without their words"] += silent
    return told


@pytest.mark.skipif(ASKED not in ("usual", USUAL) or WHOLE, reason="the limit is for the usual pages")
def test_the_usual_pages_take_no_longer_than_they_may(results):
    held_to(LONGEST, "s for the site and the usual pages", time.monotonic() - START, results["busy before"])
