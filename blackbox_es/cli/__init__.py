"""The command line: ``python -m blackbox_es COMMAND``, a module for each command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import blackbox_es
from blackbox_es.cli import check, mnist, quadratic, study


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if all went well."""
    parser = argparse.ArgumentParser(
        prog="blackbox-es",
        description="Evolution strategies at work. `COMMAND --help` shows the options.",
    )
    parser.add_argument("--version", action="version", version=blackbox_es.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    mnist.add(commands)
    quadratic.add(commands)
    study.add(commands)
    check.add(commands)
    arguments = parser.parse_args(argv)
    try:
        run: Callable[..., int | None] = arguments.run
        return run(arguments) or 0
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except OSError as error:  # no data, no room for the figure: the message says what to do
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
