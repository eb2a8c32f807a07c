"""The built site: every page is whole and loads nothing from outside.  `make site` builds it, then runs this."""
import os
import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import nbformat
import pytest
from pages import IN_SCRIPT, IN_STYLE, loads

from helpers.env import ROOT

SITE = ROOT / os.environ.get("COURSE_SITE", "no site")          # a site that lies there from earlier may be out of date
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
pytestmark = pytest.mark.skipif("COURSE_SITE" not in os.environ, reason="`make site` builds a site, then runs this")


class Page(HTMLParser):
    """.links, .ids and .pictures (address, words) of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.pictures = [], set(), []
        self.html = path.read_text(encoding="utf8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        if attrs.get("href"):
            self.links.append(attrs["href"])
        if tag == "script" and attrs.get("src"):
            self.links.append(attrs["src"])
        if tag == "img":
            self.pictures.append((attrs["src"], attrs.get("alt")))

    handle_startendtag = handle_starttag


def built():
    return {path: Page(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def of(path):
    return Page(SITE / "notebooks" / f"{path.stem}.html")


def test_no_page_loads_anything_from_outside():
    assert len(built()) >= len(NOTEBOOKS) + 2
    assert {str(path.relative_to(SITE)): loads(page.html) for path, page in built().items() if loads(page.html)} == {}
    for path in [*SITE.rglob("*.css"), *SITE.rglob("*.js")]:
        pattern = IN_STYLE if path.suffix == ".css" else IN_SCRIPT
        assert pattern.findall(path.read_text(encoding="utf8")) == [], path


def test_every_link_inside_the_site_leads_somewhere():
    pages = built()
    for path, page in pages.items():
        for link in [*page.links, *(address for address, _ in page.pictures)]:
            if re.match(r"\w+:|//", link):
                continue
            target, _, anchor = unquote(link.partition("?")[0]).partition("#")
            file = (path.parent / target).resolve() if target else path
            assert file.is_file(), f"{path.relative_to(SITE)} leads to {link}"
            if anchor and file in pages:
                assert anchor in pages[file].ids, f"{path.relative_to(SITE)} leads to {link}"


@notebooks
def test_a_page_shows_every_picture_with_its_words(path):
    cells = nbformat.read(path, as_version=4).cells
    said = [output.data["text/plain"] for cell in cells for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})]
    shown = [(address, words) for address, words in of(path).pictures if "/_images/" in address]
    assert len(said) == len(shown) > 0
    assert all(words in alt for words, (_, alt) in zip(said, shown))


@notebooks
def test_a_page_shows_every_equation(path):
    text = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    text = re.sub(r"`[^`]*`", "", text)
    blocks = re.findall(r"\$\$(.+?)\$\$", text, re.S)
    inline = re.findall(r"\$([^$]+)\$", re.sub(r"\$\$.+?\$\$", "", text, flags=re.S))
    page = of(path).html
    article = page[page.index("<article"):page.index("</article>")]           # headings stand in the contents again
    assert article.count('<div class="math notranslate nohighlight"') == len(blocks)
    assert article.count('<span class="math notranslate nohighlight"') == len(inline)
    assert re.search(r'<script[^>]* src="\.\./_static/mathjax\.js', page)


@notebooks
def test_a_page_has_its_neighbours_its_badges_and_its_contents(path):
    page, place = of(path), NOTEBOOKS.index(path)
    if place:
        assert re.search(rf'class="left-prev"\s+href="{NOTEBOOKS[place - 1].stem}\.html"', page.html)
    if place < len(NOTEBOOKS) - 1:
        assert re.search(rf'class="right-next"\s+href="{NOTEBOOKS[place + 1].stem}\.html"', page.html)
    assert any(link.startswith("https://colab.research.google.com/github/") and link.endswith(f"/notebooks/{path.name}")
               for link in page.links)
    assert any(link.startswith("https://mybinder.org/v2/gh/") for link in page.links)
    for other in NOTEBOOKS:
        assert f"{other.stem}.html" in page.links or other == path


@notebooks
def test_a_page_shows_what_a_cell_printed(path):
    text = unescape(re.sub(r"<[^>]+>", "", of(path).html))
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                assert output.text.strip() in text


@notebooks
def test_a_page_hands_out_its_notebook(path):
    link = f"../_sources/notebooks/{path.name}"
    assert link in of(path).links
    assert (SITE / "notebooks" / link).read_bytes() == path.read_bytes()


def test_search_knows_the_pages():
    index = (SITE / "searchindex.js").read_text(encoding="utf8")
    assert index.startswith("Search.setIndex(") and all(f'"notebooks/{path.stem}"' in index for path in NOTEBOOKS)
    assert '"alpha_bar"' in index or '"alpha"' in index
    assert "searchindex.js" in (SITE / "search.html").read_text(encoding="utf8")
