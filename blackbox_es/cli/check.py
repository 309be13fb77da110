"""``python -m blackbox_es check MODULE:FUNCTION``: what is wrong with an objective?"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

import numpy as np

from blackbox_es.cli.options import at_least


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="check an objective of your own, and its surrogate gradient",
        description="Call an objective at points near x0 and report what an optimizer would "
        "stumble over. The exit status is 1 if a check failed, 2 if an argument is invalid.",
        epilog="example: python -m blackbox_es check mymodule:loss --x0 0.5 -1 2 --sigma 0.1",
    )
    parser.add_argument("objective", metavar="MODULE:FUNCTION", help="f(x) -> float")
    parser.add_argument(
        "--x0",
        nargs="+",
        required=True,
        metavar="X",
        help="numbers, or MODULE:NAME of a vector or of a function that returns one",
    )
    parser.add_argument(
        "--sigma", type=float, default=0.1, help="standard deviation of a coordinate (0.1)"
    )
    parser.add_argument(
        "--bounds", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of every coordinate"
    )
    parser.add_argument("--surrogate", metavar="MODULE:FUNCTION", help="g(x) -> (n,) or (n, k)")
    parser.add_argument("--vectorized", action="store_true", help="f takes rows of points")
    parser.add_argument("--stochastic", action="store_true", help="values have noise")
    parser.add_argument("--budget", type=at_least(1), default=500, help="evaluations (500)")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--checks", nargs="+", metavar="NAME", help="only these")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check and print the report."""
    from blackbox_es.testing import check_objective

    try:
        objective, x0 = named(arguments.objective), _vector(arguments.x0)
        bounds = None if arguments.bounds is None else [arguments.bounds] * np.size(x0)
        report = check_objective(
            objective,
            x0,
            sigma=arguments.sigma,
            bounds=bounds,
            vectorized=arguments.vectorized,
            stochastic=arguments.stochastic,
            surrogate_fn=None if arguments.surrogate is None else named(arguments.surrogate),
            budget=arguments.budget,
            seed=arguments.seed,
            checks=arguments.checks,
            on_fail=None,
        )
    except (TypeError, ValueError) as error:  # of an argument: nothing was evaluated
        print(f"blackbox-es check: {error}", file=sys.stderr)
        return 2
    print(report)
    return 1 if report.failed else 0


def named(path: str) -> Any:
    """What ``MODULE:NAME`` names; modules are looked for in the working directory, too.

    Raises
    ------
    ValueError
        If there is no such module or no such name in it.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ValueError(f"{path!r} is not of the form MODULE:NAME, such as mymodule:loss")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        value = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise  # it is there, but cannot be imported
        raise ValueError(f"there is no module {module!r} here or among those installed") from None
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise ValueError(f"module {module!r} has no {name!r}") from None
    return value


def _vector(words: list[str]) -> Any:
    if len(words) == 1 and ":" in words[0]:
        value = named(words[0])
        return value() if callable(value) else value
    try:
        return [float(word) for word in words]
    except ValueError:
        raise ValueError(f"--x0 {' '.join(words)}: expected numbers, or MODULE:NAME") from None
