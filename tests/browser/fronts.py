"""JupyterLab and the classic notebook in a real browser: a server, a page that runs all its cells, and its parts."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
POP_UPS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}


def chromium():
    """The browser's program: $CHROMIUM, or the first that is installed.  FileNotFoundError: none."""
    found = [path for path in (os.environ.get("CHROMIUM"), *map(shutil.which, PROGRAMS)) if path]
    if not found:
        raise FileNotFoundError("There is no Chromium: install it (apt-get install chromium), or say where it is in "
                                "the variable CHROMIUM.")
    return found[0]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, happened, seconds, alive=lambda: True):
    """The first true answer of happened(), asked again and again.  TimeoutError: none within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and alive():
        answer = happened()
        if answer:
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"{what}: {f'not within {seconds} s' if alive() else 'the server ended'}.")


class Front:
    """A front end of Jupyter: how its server starts, and where things are on its page."""

    name, python = None, None                  # python: an interpreter that can run the server and its kernels
    KNOWN = ()                                 # parts of complaints that are the front end's own, not the course's

    def command(self, folder, port):
        raise NotImplementedError

    @contextlib.contextmanager
    def server(self, folder, state, log):
        """The address of a server of folder; it keeps its state in another folder and what it says in a file log."""
        settings = state / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(POP_UPS), encoding="utf8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "JUPYTER"))}
        folders = {name: str(state / name.lower()) for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR",
            "COURSE_CHECKPOINTS")}
        folders |= {"JUPYTERLAB_SETTINGS_DIR": str(state / "settings")}
        port, one = free_port(), {"OMP_NUM_THREADS": "1"}      # busy cores: threads that wait for each other take ages
        with log.open("w", encoding="utf8") as told:
            server = subprocess.Popen([str(self.python), *self.command(folder, port)], env=kept | folders | one,
                                      cwd=folder, stdout=told, stderr=told, start_new_session=True)
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(f"{self.name} did not start (see {log})", lambda: answers(address), 120,
                     alive=lambda: server.poll() is None)
            yield address
        finally:
            with contextlib.suppress(OSError):
                end_kernels(address)           # they would outlive their server
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()

    def open(self, page, address, name):
        """Show a notebook, its kernel ready."""
        raise NotImplementedError

    def run_all(self, page):
        """Choose "Run all" in the menu."""
        raise NotImplementedError

    def to_widget(self, page, cell):
        """Put the focus where a keyboard begins: on the cell, in command mode."""
        page.evaluate(self.SCROLL, cell)
        page.evaluate("n => document.querySelector(`[data-course='${n}']`).focus()", cell)

    def progress(self, page):
        """{"left": cells that still run or wait, "errors": sentences, "codes": code cells}"""
        return page.evaluate(self.PROGRESS)

    def run(self, page, seconds):
        """Run all cells to the end.  RuntimeError: a cell fails; TimeoutError."""
        self.run_all(page)
        begun = wait_for(f"{self.name} runs no cell", lambda: self.progress(page)["begun"], 60)
        wait_for(f"{self.name} did not run all cells", lambda: begun and not self.progress(page)["left"], seconds)
        errors = self.progress(page)["errors"]
        if errors:
            raise RuntimeError(f"{self.name}: {'; '.join(errors)}")


class Lab(Front):
    name = "JupyterLab"
    CELL = ".jp-Notebook .jp-Cell"
    SCROLL = """n => { const book = window.jupyterapp.shell.currentWidget.content;
                       const all = book.widgets.map((w, i) => [w, i]).filter(([w]) => w.model.type == 'code');
                       book.activeCellIndex = all[n][1]; book.deselectAll(); book.mode = 'command';
                       return book.scrollToItem(all[n][1], 'start').then(() => {
                           all[n][0].node.setAttribute('data-course', n); }); }"""
    WORDS = """n => window.jupyterapp.shell.currentWidget.content.widgets.filter(w => w.model.type == 'code')[n].model
        .outputs.toJSON().filter(o => o.data?.['image/png']).map(o => o.metadata['image/png']?.alt)"""
    PROGRESS = """() => { const book = window.jupyterapp.shell.currentWidget.content;
        const codes = book.widgets.filter(w => w.model.type == 'code');
        const outs = codes.flatMap(w => w.model.outputs.toJSON());
        return {codes: codes.length, begun: codes.some(w => w.model.executionCount || w.prompt == '*'),
                left: codes.filter(w => w.prompt == '*' || !w.model.executionCount).length,
                errors: outs.filter(o => o.output_type == 'error').map(o => o.ename + ': ' + o.evalue)}; }"""

    def __init__(self, python):
        self.python = python

    def command(self, folder, port):
        return ["-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
                "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={folder}",
                "--expose-app-in-browser", "--LabApp.news_url=",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]

    def open(self, page, address, name):
        page.goto(f"{address}/lab/tree/{name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        wait_for("JupyterLab's kernel is not ready", lambda: page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status == 'idle'"), 120)

    def run_all(self, page):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


class Classic(Front):
    name = "classic notebook"
    KNOWN = ("about:blank", "/components/MathJax/fonts/")      # notebook 6 lacks a font of its MathJax; it draws on
    CELL = "#notebook-container > .cell"
    SCROLL = """n => { const book = Jupyter.notebook, all = book.get_cells();
                       const cell = all.filter(c => c.cell_type == 'code')[n];
                       book.select(all.indexOf(cell)); book.command_mode(); book.focus_cell();
                       cell.element[0].scrollIntoView(); cell.element[0].setAttribute('data-course', n); }"""
    WORDS = """n => Jupyter.notebook.get_cells().filter(c => c.cell_type == 'code')[n].output_area.outputs
        .filter(o => o.data?.['image/png']).map(o => o.metadata['image/png']?.alt)"""
    PROGRESS = """() => { const codes = Jupyter.notebook.get_cells().filter(c => c.cell_type == 'code');
        const outs = codes.flatMap(c => c.output_area.outputs);
        return {codes: codes.length, begun: codes.some(c => c.input_prompt_number),
                left: codes.filter(c => !(c.input_prompt_number > 0)).length,
                errors: outs.filter(o => o.output_type == 'error').map(o => o.ename + ': ' + o.evalue)}; }"""

    def __init__(self, python):
        self.python = python

    def command(self, folder, port):
        return ["-m", "notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
                "--NotebookApp.token=", "--NotebookApp.password=", "--NotebookApp.disable_check_xsrf=True",
                f"--notebook-dir={folder}"]

    def open(self, page, address, name):
        page.goto(f"{address}/notebooks/{name}")
        page.wait_for_selector(self.CELL, timeout=120_000)
        wait_for("the classic notebook's kernel is not ready", lambda: page.evaluate(
            "() => Jupyter?.notebook?.kernel?.is_connected() && Jupyter.notebook.kernel_busy === false"
            " && Jupyter.notebook._fully_loaded"), 120)

    def to_widget(self, page, cell):
        """On the widget's first control: notebook 6 lets Tab into its code cells, and never out of them again."""
        super().to_widget(page, cell)
        page.evaluate("() => window.course.found()[0].focus()")

    def run_all(self, page):
        page.click("#celllink")
        page.click("#run_all_cells a")


def answers(address):
    try:
        with urllib.request.urlopen(f"{address}/api", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


def end_kernels(address):
    """End all kernels of a server: the next page begins with an idle machine."""
    with urllib.request.urlopen(f"{address}/api/kernels", timeout=20) as reply:
        kernels = json.load(reply)
    for kernel in kernels:
        request = urllib.request.Request(f"{address}/api/kernels/{kernel['id']}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()
