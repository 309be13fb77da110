"""``python -m blackbox_es study NAME``: a comparison, its data and its figure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from blackbox_es.cli.options import at_least, threads


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "study",
        help="run a study: data in CSV files, and a figure",
        description="Run a study and draw its figure. What is finished is kept: after a kill the "
        "same command goes on. Without a name, list the studies.",
    )
    parser.add_argument("study", nargs="?", type=_study, metavar="NAME")
    parser.add_argument(
        "--out", type=Path, default=Path("studies"), metavar="DIR", help="the folder (studies)"
    )
    parser.add_argument("--seeds", type=at_least(1), metavar="N", help="how many (the study's own)")
    parser.add_argument(
        "--jobs", type=threads, default=-1, metavar="N", help="processes (all cores)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small one, to see that it works: its numbers say nothing",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Run, print what is seen, and draw."""
    from blackbox_es.study import STUDIES, run_cells

    if arguments.study is None:
        width = max(map(len, STUDIES))
        print("\n".join(f"{name:{width}}  {study.summary}" for name, study in STUDIES.items()))
        return
    study = STUDIES[arguments.study](quick=arguments.quick)
    folder = arguments.out / (study.name + ("-quick" if study.quick else ""))
    rows = run_cells(study, folder, n_seeds=arguments.seeds, n_jobs=arguments.jobs)
    print(f"\n{study.report(rows)}\n\ndata: {folder / study.name}.csv")
    try:
        figure = study.figure(rows)
    except ImportError as error:
        print(f"no figure: {error}")
        return
    figure.savefig(folder / f"{study.name}.png", pil_kwargs={"optimize": True})
    print(f"figure: {folder / study.name}.png")


def _study(name: str) -> str:
    from blackbox_es.study import STUDIES

    if name not in STUDIES:
        raise argparse.ArgumentTypeError(f"there is no study {name!r}: take {', '.join(STUDIES)}")
    return name
