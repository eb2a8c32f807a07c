"""What an HTML page fetches from other machines while it is looked at."""
import re
from html.parser import HTMLParser

OUTSIDE = re.compile(r"\s*(https?:)?//", re.I)
FETCHED = {"img": ["src", "srcset"], "script": ["src"], "iframe": ["src"], "embed": ["src"], "object": ["data"],
           "source": ["src", "srcset"], "video": ["src", "poster"], "audio": ["src"], "track": ["src"],
           "input": ["src"], "image": ["href"], "use": ["href"]}
RELATIONS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}
IN_STYLE = re.compile(r"""(?:@import\s*["']?|url\(\s*["']?)\s*((?:https?:)?//[^\s"')]+)""", re.I)
IN_SCRIPT = re.compile(r"""(?:\bimport\s*\(?|\bfrom|\bfetch\(|\.src\s*=|importScripts\()\s*"""
                       r"""["'`]((?:https?:)?//[^"'`]+)""")


class Loads(HTMLParser):
    """Fills .found with "tag address" for all that a page takes from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], None

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        self.inside = tag
        names = FETCHED.get(tag, [])
        if tag == "link" and RELATIONS & set(attrs.get("rel", "").lower().split()):
            names = ["href"]
        self.found += [f"{tag} {attrs[name].strip()}" for name in names if OUTSIDE.match(attrs.get(name, ""))]
        self.found += [f"{tag} {address}" for address in IN_STYLE.findall(attrs.get("style", ""))]

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        pattern = {"style": IN_STYLE, "script": IN_SCRIPT}.get(self.inside)
        if pattern:
            self.found += [f"{self.inside} {address}" for address in pattern.findall(data)]

    def handle_endtag(self, tag):
        self.inside = None


def loads(html):
    """A list of "tag address": what the page html fetches from other machines."""
    parser = Loads()
    parser.feed(html)
    return parser.found
