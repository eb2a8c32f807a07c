"""Every claim about speed and quality, measured here and printed beside its bar.  Exit code 1 where one is missed.

    python -m benchmarks.bench                     # all seven; make bench
    python -m benchmarks.bench --bar 2 3 --quick   # two of them, shorter
    python -m benchmarks.bench --show              # what the stored results say, nothing run
"""
import argparse
import json
import os
import sys
import time
import traceback
from dataclasses import fields
from pathlib import Path

import psutil
import torch

from benchmarks import common
from benchmarks.common import QUICK, RESULTS, Measure, Settings

NAMES = {1: "time_to_quality", 2: "sampling", 3: "use_of_the_machine", 4: "growth", 5: "gpu", 6: "denoising",
         7: "photographs"}
WORDS = {True: "PASSED", False: "MISSED", None: "not run"}


def bars():
    """{number: (function, whether it needs the measure)}; a function takes (settings, measure) and gives a result."""
    from benchmarks import denoising, quality, speed
    return {1: (quality.time_to_quality, True), 2: (quality.sampling, True), 3: (speed.use_of_the_machine, False),
            4: (speed.growth, False), 5: (speed.gpu, torch.cuda.is_available()), 6: (denoising.denoising, False),
            7: (photographs, False)}


def photographs(settings, _):
    """Bar 7, in a module of its own: it needs photographs that are not part of the course."""
    about = dict(name="photographs", number=7, title="Photographs")
    if not os.environ.get("COURSE_DATA"):
        return about | dict(bar="see benchmarks/README.md", passed=None, why="COURSE_DATA is not set", checks=[])
    from benchmarks import photographs as module
    return about | module.run(settings)


def cell(value):
    """A figure as it is printed."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return f"[{', '.join(cell(v) for v in value)}]"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def table(rows):
    """Rows, dictionaries, as lines of a Markdown table."""
    heads = list(rows[0])
    body = [[cell(row.get(head)) for head in heads] for row in rows]
    widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
    line = lambda cells: "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths)) + " |"
    return [line(heads), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, body)]


def sentence(check):
    """One check in words: figure, interval, bar, verdict."""
    between = f" {cell(check['interval'])}" if check.get("interval") else ""
    end = WORDS[check["passed"]] if check["passed"] is not None else f"not judged: {check['why']}"
    return f"{cell(check['value'])}{between} {check['what']} (bar: {check['sense']} {cell(check['bar'])})  {end}"


def report(result):
    """A bar's result as lines."""
    head = f"{result['number']}  {result['title']}: {result['bar']}"
    if result["passed"] is None and result.get("why"):
        return [head, f"   not run: {result['why']}"]
    lines = [head, *(f"   {line}" for line in (table(result["rows"]) if result.get("rows") else []))]
    lines += [f"   {text}" for text in result.get("says", [])]
    lines += [f"   {sentence(check)}" for check in result.get("checks", [])]
    return [*lines, f"   {WORDS[result['passed']] if result['passed'] is not None else 'not judged'}"]


def summary(results):
    """The stored results as a Markdown table, a row for each figure that has a bar, and the figures drawn from them."""
    def row(r, check):
        of = r["machine"]
        where = of["gpu"] or f"{of['processor']}, {of['cores']} cores"
        return {"bar": f"{r['number']} {r['title']}", "figure": cell(check["value"]),
                "range": cell(check["interval"]) if check.get("interval") else "", "of what": check["what"],
                "wanted": f"{check['sense']} {cell(check['bar'])}", "": WORDS[check["passed"]],
                "measured": f"{r['date'][:10]}, {where}"}

    rows = [row(r, check) for r in results for check in r["checks"]]
    drawn = [f"![{r['title']}: {r['bar']}](results/{r['name']}.png)" for r in results
             if (common.RESULTS / f"{r['name']}.png").exists()]
    return "\n".join(["", *(table(rows) if rows else []), "", *drawn, ""])


def stored_results():
    """What is stored of each bar, quick runs left out."""
    return [r for name in NAMES.values() if (r := common.read(name))]


def publish(settings):
    """Draw the figures and write the page from what is stored; quick runs and trials elsewhere leave the page alone."""
    if not settings.quick:
        from benchmarks import figures
        figures.main()
        if common.RESULTS == RESULTS:
            common.fill("results", summary(stored_results()))


def exit_code(results):
    """1 where a bar was missed or broke, else 0: what was not run is no miss."""
    return int(any(result["passed"] is False for result in results))


def options(arguments=None):
    """The command line: (bars, Settings, show, folder of the results)."""
    parser = argparse.ArgumentParser("benchmarks.bench", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--bar", type=int, nargs="+", choices=tuple(NAMES), help="which; by default all, or 1 to 4 if quick")
    add("--quick", action="store_true", help="shorter budgets, fewer samples, stored figures of the peers")
    add("--show", action="store_true", help="print the stored results, put them into the page, run nothing")
    names = ", ".join(f.name for f in fields(Settings) if f.name != "quick")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", dest="changes", help=f"another setting: {names}")
    add("--results", type=Path, default=common.RESULTS, help="where the results go")
    o = parser.parse_args(arguments)
    settings = Settings(**QUICK) if o.quick else Settings()
    for change in o.changes:
        name, _, value = change.partition("=")
        known = {f.name: f.type for f in fields(Settings)}
        if name not in known or name == "quick":
            parser.error(f"there is no setting {name!r}")
        try:
            found = json.loads(value)
            setattr(settings, name, tuple(found) if known[name] is tuple else known[name](found))
        except (ValueError, TypeError):
            parser.error(f"{change} is not of the form {name}={json.dumps(getattr(settings, name))}")
    return o.bar or list(NAMES)[:4 if o.quick else 7], settings, o.show, o.results


def run_bar(number, bar, settings, measure):
    """One bar: measure, write, print.  Whatever breaks it is told, counts as a miss, and leaves the stored result."""
    busy, start = psutil.cpu_percent(1), time.monotonic()
    if busy > 20:
        common.note(f"Other programs keep {busy:.0f} % of the cores busy: stop them, or the figures will not hold.")
    try:
        result = bar(settings, measure)
        sheet = result.pop("sheet", None)
        result["took_seconds"] = time.monotonic() - start
        ran = not (result["passed"] is None and result.get("why"))
        path = common.write(result, settings, busy) if ran else None         # what was not run replaces no result
        if sheet:
            path.with_name(f"{result['name']}_samples.png").write_bytes(sheet.png)
    except Exception:                                          # the bars that follow still count
        traceback.print_exc()
        result = dict(name=NAMES[number], number=number, title=NAMES[number].replace("_", " "), passed=False,
                      bar="it broke, see above")
    print("\n".join(report(result)), f"\n   ({time.monotonic() - start:.0f} s)\n", flush=True)
    return result


def main(arguments=None):
    """Run the bars asked for; 0 or 1, the exit code."""
    numbers, settings, show, common.RESULTS = options(arguments)
    if show:
        publish(settings)
        results = [r for number in numbers if (r := common.read(NAMES[number], settings.quick))]
        for result in results:
            print("\n".join(report(result)), f"\n   ({result['date'][:10]}, {result['machine']['processor']}, "
                  f"{result['machine']['cores']} cores)\n")
        return exit_code(results)
    about, functions = common.machine(), bars()
    print(f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['gpu'] or 'no GPU'}; "
          f"torch {common.versions()['torch']}, {about['threads']} threads{'; quick' if settings.quick else ''}\n",
          flush=True)
    measure = Measure(settings.real) if any(functions[number][1] for number in numbers) else None
    if measure:
        print(f"The floor: the KID between two fresh sets of {settings.real} rendered pictures is {measure.floor:.4f} "
              f"{cell(measure.fresh['interval'])} (95 %).\n", flush=True)
    results = [run_bar(number, functions[number][0], settings, measure) for number in numbers]
    publish(settings)
    print("   ".join(f"{r['number']} {WORDS[r['passed']]}" for r in results))
    return exit_code(results)


if __name__ == "__main__":
    sys.exit(main())
