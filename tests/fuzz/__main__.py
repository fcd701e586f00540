"""The command of the fuzzer: many inputs with a table, or one input again."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from tests.fuzz.bench import Bench, prepare_process
from tests.fuzz.running import (
    base_files,
    print_findings,
    run,
    save_faults,
    share_out,
)
from tests.fuzz.targets import FORMATS

SAVED = Path("build/fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    add = parser.add_argument
    add("--count", type=int, default=2000, help="inputs over all formats")
    add("--format", nargs="+", choices=sorted(FORMATS), help="formats; all by default")
    add("--seed", type=int, default=0)
    add("--index", type=int, help="read this input alone, and show what comes of it")
    add("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    names = options.format or list(FORMATS)
    with base_files(names) as root:
        if options.index is not None:
            return replay(root, names[0], options.seed, options.index)
        console = Console()
        console.width = max(console.width, 200)
        counts = share_out(names, options.count)
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=console, disable=not console.is_terminal
        ) as bar:
            task = bar.add_task("", total=sum(counts.values()))

            def advance(name: str) -> None:
                bar.update(task, advance=1, description=f"{name:24}")

            found = run(root, counts, options.seed, options.processes, advance)
        print_findings(found, options.seed, console)
        save_faults(found, root, options.seed, SAVED)
    num_faults = sum(map(len, found.faults.values()))
    saved = f"; some of them in {SAVED}" if num_faults else ""
    console.print(f"{found.total:,} inputs, {num_faults:,} faults{saved}")
    return 1 if num_faults else 0


def replay(root: Path, name: str, seed: int, index: int) -> int:
    """Read one damaged input, print its traceback, and leave the file to look at."""
    prepare_process(root)
    bench = Bench(name, root / "replayed" / name, root / "bases" / name)
    file, content = bench.damaged(seed, index)
    kept = SAVED / f"{name}-{seed}-{index}" / file
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    print(f"{kept}: {len(content):,} bytes, before {len(bench.contents[file]):,}")
    report = bench.test(seed, index, trace=True)
    print(f"{report.outcome}: {report.words!r}")
    return int(report.outcome.is_fault)


if __name__ == "__main__":
    sys.exit(main())
