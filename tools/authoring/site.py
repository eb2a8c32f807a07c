"""Build the course as a site, build/site, from the saved notebooks: nothing is run, and no page loads from outside.

    python -m tools.authoring.site
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

from tools.authoring.address import course
from tools.authoring.html import mathjax, still, words

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "build" / "book"
SITE = ROOT / "build" / "site"
STYLE = """.bd-page-width { max-width: 104rem; }
.bd-main .bd-content .bd-article-container { max-width: 72rem; }
div.highlight pre { font-size: 0.75rem; }
"""                                                    # so that lines of 120 characters find room on a wide screen
PAGES = {"README.md": "index.md", "notebooks/glossary.md": "glossary.md", "data/README.md": "data.md"}


def configuration():
    """jupyter-book's settings, as a dictionary."""
    address = "https://github.com/{repository}".format(**course())
    return {
        "title": "Craters from Noise",
        "author": "",
        "only_build_toc_files": True,
        "execute": {"execute_notebooks": "off"},
        "repository": {"url": address, "branch": course()["branch"], "path_to_book": ""},
        "launch_buttons": {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org",
                           "notebook_interface": "jupyterlab"},
        "html": {"use_repository_button": True, "extra_footer": "Text, figures and weights: CC BY 4.0. Code: MIT."},
        "sphinx": {"recursive_update": True,
                   "config": {"mathjax_path": "mathjax.js", "mathjax3_config": {"options": {"enableMenu": False}},
                              "myst_heading_anchors": 3, "html_show_copyright": False,
                              "html_context": {"default_mode": "auto"},
                              "html_theme_options": {"navbar_persistent": []}}},          # one search field is enough
    }


def contents(notebooks):
    """The table of contents: the front page, the notebooks in their order, the glossary, the data."""
    return {"format": "jb-book", "root": "index",
            "parts": [{"caption": "Notebooks", "chapters": [{"file": f"notebooks/{path.stem}"} for path in notebooks]},
                      {"caption": "More", "chapters": [{"file": "glossary"}, {"file": "data"}]}]}


def slug(anchor):
    """The name that a site gives to a heading, from the one that Jupyter gives it: Why-spoil-it? -> why-spoil-it."""
    return re.sub(r"[^\w-]", "", re.sub(r"\$[^$]*\$", "", anchor)).lower()


def here(text, folder, shown):
    """Markdown whose links lead to pages of the site, or else to the repository.

    folder: where text stands in the repository; shown: {path in the repository: path in the site, from folder}.
    """
    def link(match):
        target, _, anchor = match[2].partition("#")
        if not target or re.match(r"\w+:", target):
            return match[0]
        path = (ROOT / folder / target).resolve().relative_to(ROOT).as_posix()
        if path in shown:
            anchor = slug(anchor) if path.endswith(".ipynb") else anchor
            return f"{match[1]}({shown[path]}{'#' + anchor if anchor else ''})"
        view = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{match[1]}(https://github.com/{course()['repository']}/{view}/{course()['branch']}/{path})"

    text = re.sub(r"!\[Open in Colab\]\([^)]*\)", "Open in Colab", text)
    return re.sub(r"(\]) ?\(([^)\s]+)\)", link, text)


def lay_out(notebooks):
    """Write what jupyter-book reads into SOURCE."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    (SOURCE / "notebooks").mkdir(parents=True)
    (SOURCE / "_static").mkdir()
    (SOURCE / "_static" / "course.css").write_text(STYLE, encoding="utf8")
    (SOURCE / "_config.yml").write_text(yaml.safe_dump(configuration()), encoding="utf8")
    (SOURCE / "_toc.yml").write_text(yaml.safe_dump(contents(notebooks)), encoding="utf8")
    pages = PAGES | {f"notebooks/{path.name}": f"notebooks/{path.name}" for path in notebooks}
    for origin, target in PAGES.items():
        text = (ROOT / origin).read_text(encoding="utf8")
        for image in re.findall(r"!\[[^\]]*\]\((?!\w+:)([^)]+)\)", text):
            (SOURCE / image).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / Path(origin).parent / image, SOURCE / image)
            pages[(Path(origin).parent / image).as_posix()] = image
        (SOURCE / target).write_text(here(text, Path(origin).parent, pages), encoding="utf8")
    for path in notebooks:
        notebook = still(nbformat.read(path, as_version=4))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = here(cell.source, "notebooks", {page: f"../{target}" for page, target in pages.items()})
            if words(cell):
                cell.metadata["mystnb"] = {"image": {"alt": " ".join(words(cell))}}
            if {"setup", "solution"} & set(cell.metadata.get("tags", [])):
                cell.metadata["tags"] = [*cell.metadata["tags"], "hide-input"]
        nbformat.write(notebook, SOURCE / "notebooks" / path.name)


def main():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    lay_out(notebooks)
    script = mathjax()
    program = "from jupyter_book.cli.main import main; main()"         # scripts in bin/ hold their folder's old name
    subprocess.run([sys.executable, "-c", program, "build", "--all", "-W", "--keep-going", str(SOURCE)], check=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(SOURCE / "_build" / "html", SITE)
    (SITE / "_static" / "mathjax.js").write_text(script, encoding="utf8")       # as a source it is loaded twice
    for page in SITE.rglob("*.html"):                                   # Thebe is set up twice, and not wanted
        text = page.read_text(encoding="utf8")
        page.write_text(re.sub(r".*<script.*(?:THEBE_JS_URL|sphinx-thebe\.js).*\n", "", text), encoding="utf8")
    for path in notebooks:                                              # the button on its page hands out the whole one
        shutil.copy(path, SITE / "_sources" / "notebooks" / path.name)
    print(f"The site is in {SITE.relative_to(ROOT)}: open {(SITE / 'index.html').relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
