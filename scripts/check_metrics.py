"""Compare every metric with what defines it, on many drawn cases, and print a table.

    python -m scripts.check_metrics --cases 10000 --seed 0
    python -m scripts.check_metrics --only anls --only vqav2_accuracy
    python -m scripts.check_metrics --speed 50000

Each module of scripts/metric_checks has comparisons of some metrics under `CHECKS`.
Some oracles are packages of the extras `dev` and `evaluation`, others are programs that
nobody has packaged. Those are read from clones of their repositories in one directory,
which `--sources` names: big_vision (google-research), VQA (GT-Vision-Lab), lmms-eval
(EvolvingLMMs-Lab), pix2struct (google-research), POPE (AoiDragon). What is not there is
told and left out.

`--speed N` scores N drawn predictions in every metric instead, and tells the CPU time
of statistics, of figures and of 100 draws of a bootstrap, and the statistics' memory.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from importlib import import_module

import numpy as np

from keras_pg2 import metrics
from keras_pg2.evaluation.intervals import draw_figures
from keras_pg2.metrics.registry import METRICS
from scripts import metric_checks
from scripts.metric_checks import sources
from scripts.metric_checks.check import Check
from tests.support.metric_cases import OUTSIDE, draw_cases

LARGEST_DIFFERENCE = 1e-6


def find_checks() -> Iterator[Check]:
    """Yield the comparisons of all modules."""
    for module in pkgutil.iter_modules(metric_checks.__path__):
        yield from getattr(
            import_module(f"{metric_checks.__name__}.{module.name}"), "CHECKS", ()
        )


def print_checks(names: Sequence[str], num_cases: int, seed: int) -> bool:
    """Print a line for each comparison; return whether all agree."""
    print("| metric | oracle | cases | largest difference | seconds |")
    print("| --- | --- | --- | --- | --- |")
    agree = True
    for check in find_checks():
        if names and check.metric not in names:
            continue
        start = time.perf_counter()
        try:
            difference = check.compare(np.random.default_rng(seed), num_cases)
        except (ImportError, FileNotFoundError) as error:
            print(f"| {check.metric} | {check.oracle} | 0 | not here: {error} | |")
            continue
        seconds = time.perf_counter() - start
        # NaN does not agree.
        agree &= difference <= LARGEST_DIFFERENCE
        print(
            f"| {check.metric} | {check.oracle} | {num_cases} | {difference:.2g} "
            f"| {seconds:.1f} |",
            flush=True,
        )
    return agree


def print_speed(names: Sequence[str], num_cases: int, seed: int) -> None:
    """Print what it takes to score drawn predictions in each metric."""
    print("| metric | predictions | statistics s | figures s | 100 draws s | MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names or [name for name in METRICS if name not in OUTSIDE]:
        metric = metrics.get(name)
        try:
            metric.check()
        except ImportError as error:
            print(f"| {name} | 0 | not here: {error} | | | |")
            continue
        cases = draw_cases(name, np.random.default_rng(seed), num_cases)
        times = [time.process_time()]
        rows = [metric.statistics(answer, truth) for answer, truth in cases]
        times.append(time.process_time())
        metric.result(rows)
        times.append(time.process_time())
        draw_figures(metric, rows, 100, seed)
        times.append(time.process_time())
        seconds = " | ".join(f"{second:.2f}" for second in np.diff(times))
        megabytes = _megabytes(name, cases)
        print(f"| {name} | {num_cases} | {seconds} | {megabytes:.0f} |", flush=True)


def _megabytes(name: str, cases: list) -> float:
    """Return the memory of statistics, from a tenth of the cases."""
    metric, some = metrics.get(name), cases[: max(len(cases) // 10, 1)]
    tracemalloc.start()
    rows = [metric.statistics(answer, truth) for answer, truth in some]
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / len(rows) * len(cases) / 1e6


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--sources", metavar="DIR", help="clones of repositories")
    parser.add_argument("--speed", type=int, metavar="N", help="time N predictions")
    options = parser.parse_args()
    for name in options.only:
        metrics.get(name)
    if options.speed:
        print_speed(options.only, options.speed, options.seed)
        return
    if options.sources:
        sources.DIRECTORY = options.sources
    if not print_checks(options.only, options.cases, options.seed):
        sys.exit(f"Expected differences of at most {LARGEST_DIFFERENCE}.")


if __name__ == "__main__":
    main()
