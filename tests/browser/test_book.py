"""The built site in Chromium: pages, equations and pictures are drawn, the search finds, nothing comes from outside."""
import functools
import http.server
import os
import threading

import pytest

from helpers.env import ROOT

SITE = ROOT / os.environ.get("COURSE_SITE", "no site")
OUT = ROOT / "build" / "browser" / "site"
PAGES = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
pytestmark = pytest.mark.skipif("COURSE_SITE" not in os.environ, reason="`make test-browser` builds the site")


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def page(address, browser):
    """A tab with .complaints: errors in the console, failed answers, whatever was asked of another machine."""
    context, complaints = browser.new_context(viewport={"width": 1300, "height": 1000}), []

    def outside(route):
        complaints.append(f"asked for {route.request.url}")
        route.abort()
    context.route(lambda url: not url.startswith((address, "data:", "blob:")), outside)
    tab = context.new_page()
    tab.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("response", lambda r: r.status >= 400 and complaints.append(f"{r.status} {r.url}"))
    tab.complaints = complaints
    yield tab
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_drawn_whole(page, address, name):
    page.goto(f"{address}/notebooks/{name}.html")
    equations = page.locator("article .math").count()
    assert equations
    page.wait_for_function("n => document.querySelectorAll('article mjx-container').length >= n", arg=equations)
    wrong = page.locator("article [data-mml-node=merror], article mjx-container [fill=red]")       # red: unknown words
    assert wrong.count() == 0
    empty = page.evaluate("""async () => { const images = [...document.querySelectorAll('article img')];
        await Promise.all(images.map(i => { i.loading = 'eager'; return i.decode().catch(() => 0); }));
        return images.filter(i => !i.naturalWidth).map(i => i.src); }""")
    assert empty == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "wider than the window"
    OUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUT / f"{name}.png")
    assert not page.complaints, "\n".join(page.complaints)


def test_next_leads_through_the_course_and_the_search_finds(page, address):
    page.goto(f"{address}/notebooks/{PAGES[0]}.html")
    for name in PAGES[1:]:
        page.locator("a.right-next").click()
        page.wait_for_url(f"**/notebooks/{name}.html")
    page.goto(f"{address}/search.html?q=alpha_bar")
    page.wait_for_selector("#search-results a[href*='/02_forward_noising.html']")
    page.screenshot(path=OUT / "search.png")
    assert not page.complaints, "\n".join(page.complaints)
