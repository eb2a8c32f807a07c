"""Every claim about speed and quality, measured and printed beside its threshold.  Exit code 1 where one is missed.

    python -m benchmarks.bench                             # all of them; make bench
    python -m benchmarks.bench sampling growth --quick     # two of them, shorter
    python -m benchmarks.bench --show                      # what the stored results say; nothing is run
"""
import argparse
import json
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from benchmarks import common, denoising, figures, photographs, quality, speed
from benchmarks.common import QUICK, RESULTS, Measure, Settings

# name: a function (settings, measure) -> result
BENCHMARKS = {"time_to_quality": quality.time_to_quality, "sampling": quality.sampling,
              "use_of_the_machine": speed.use_of_the_machine, "growth": speed.growth, "gpu": speed.gpu,
              "denoising": denoising.denoising, "photographs": photographs.photographs}
MEASURED = ("time_to_quality", "sampling", "gpu")              # these need the measure
FEWER = tuple(BENCHMARKS)[:4]                                  # of a quick run
WORDS = {True: "PASSED", False: "MISSED", None: "not run"}


def cell(value):
    """A value as it is printed."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return f"[{', '.join(cell(v) for v in value)}]"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def table(rows):
    """Rows, dictionaries, as lines of a Markdown table."""
    body = [list(rows[0])] + [[cell(row.get(head)) for head in rows[0]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*body)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths)) + " |" for cells in body]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def sentence(check):
    """One check in words: value, interval, threshold, verdict."""
    between = f" {cell(check['interval'])}" if check.get("interval") else ""
    end = WORDS[check["passed"]] if check["passed"] is not None else f"not judged: {check['why']}"
    return f"{cell(check['value'])}{between} {check['what']} ({check['sense']} {cell(check['threshold'])})  {end}"


def report(result):
    """A result as lines."""
    head = f"{result['title']}: {result['claim']}"
    if result["passed"] is None and result.get("why"):
        return [head, f"   not run: {result['why']}"]
    lines = [*(table(result["rows"]) if result.get("rows") else []), *result.get("says", []),
             *map(sentence, result.get("checks", [])),
             "not judged" if result["passed"] is None else WORDS[result["passed"]]]
    return [head, *(f"   {line}" for line in lines)]


def summary(results):
    """The stored results as a Markdown table, a row for each check, and the figures drawn from them."""
    rows = []
    for r in results:
        of = r["machine"]
        where = of["gpu"] or f"{of['processor']}, {of['cores']} cores"
        rows += [{"benchmark": r["title"], "figure": cell(check["value"]),
                  "range": cell(check["interval"]) if check.get("interval") else "", "of what": check["what"],
                  "wanted": f"{check['sense']} {cell(check['threshold'])}", "": WORDS[check["passed"]],
                  "measured": f"{r['date'][:10]}, {where}"} for check in r["checks"]]
    drawn = [f"![{r['title']}: {r['claim']}](results/{r['name']}.png)" for r in results
             if common.RESULTS.joinpath(f"{r['name']}.png").exists()]
    return "\n".join(["", *(table(rows) if rows else []), "", *drawn, ""])


def stored_results(names=BENCHMARKS, quick=False):
    """What is stored of each benchmark."""
    return [result for name in names if (result := common.read(name, quick))]


def publish(quick):
    """Draw the figures and write the page from what is stored; quick runs and trials elsewhere leave the page alone."""
    if not quick:
        figures.main()
        if common.RESULTS == RESULTS:
            common.fill("results", summary(stored_results()))


def exit_code(results):
    """1 where a threshold was missed or a benchmark broke, else 0: what was not run is no miss."""
    return int(any(result["passed"] is False for result in results))


def options(arguments=None):
    """The command line as a namespace: names, settings, show, results."""
    parser = argparse.ArgumentParser("benchmarks.bench", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all, or the first four if quick")
    add("--quick", action="store_true", help="shorter trainings, fewer samples")
    add("--show", action="store_true", help="print the stored results, put them into the page, run nothing")
    add("--set", default="{}", metavar="JSON", help='other settings (benchmarks/common.py), as {"samples": 64}')
    add("--results", type=Path, default=common.RESULTS, help="where the results go")
    o = parser.parse_args(arguments)
    unknown = [name for name in o.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(BENCHMARKS)}")
    o.names = o.names or (FEWER if o.quick else tuple(BENCHMARKS))
    try:
        o.settings = replace(Settings(**QUICK) if o.quick else Settings(), **json.loads(o.set))
    except (ValueError, TypeError) as error:
        parser.error(f"--set {o.set}: {error}")
    return o


def run_one(name, settings, measure):
    """One benchmark: measure, write, print.  What breaks it is printed, counts as a miss, keeps the stored result."""
    start = time.monotonic()
    busy = psutil.cpu_percent(1)
    if busy > 20:
        common.note(f"Other programs keep {busy:.0f} % of the cores busy: stop them, or the figures will not hold.")
    try:
        result = BENCHMARKS[name](settings, measure)
        samples = result.pop("samples_figure", None)
        result["took_seconds"] = time.monotonic() - start
        if "why" not in result:                                # what was not run replaces no result
            path = common.write(result, settings, busy)
            if samples:
                common.write_file(path.with_name(f"{name}_samples.png"), samples.png)
    except Exception:                                          # the benchmarks that follow still count
        traceback.print_exc()
        result = dict(name=name, title=name, passed=False, claim="it broke, see above")
    print("\n".join(report(result)), f"\n   ({time.monotonic() - start:.0f} s)\n", flush=True)
    return result


def main(arguments=None):
    """Run the benchmarks asked for; 0 or 1, the exit code."""
    o = options(arguments)
    common.RESULTS = o.results
    if o.show:
        publish(o.settings.quick)
        results = stored_results(o.names, o.settings.quick)
        for r in results:
            print("\n".join(report(r)), f"\n   ({r['date'][:10]}, {r['machine']['processor']})\n")
        return exit_code(results)
    about = common.machine()
    print(f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['gpu'] or 'no GPU'}; "
          f"torch {torch.__version__}, {about['threads']} threads{'; quick' if o.quick else ''}\n", flush=True)
    measure = None
    if set(o.names) & set(MEASURED):
        measure = Measure(o.settings.real)
        print(f"The floor: the KID between two fresh sets of {o.settings.real} rendered images is {measure.floor:.4f} "
              f"{cell(measure.fresh['interval'])} (95 %).\n", flush=True)
    results = [run_one(name, o.settings, measure) for name in o.names]
    publish(o.settings.quick)
    print("   ".join(f"{r['name']} {WORDS[r['passed']]}" for r in results))
    return exit_code(results)


if __name__ == "__main__":
    sys.exit(main())
