"""What an estimate of `ESGradient` costs beside the evaluations of the loss that it is made of.

``taskset -c 0 python tests/benchmarks/torch_overhead.py``: multilayer perceptrons with one hidden
layer on random batches, 16 pairs. An estimate and as many evaluations of the loss as it takes,
without a graph, are timed in turns in one process with one thread; medians. The share is the
difference over the time of the evaluations.
"""

from __future__ import annotations

import argparse

import torch
from timing import header, in_turns

from blackbox_es.torch import ESGradient

PAIRS = 16
CASES = [(64, 32, 256), (784, 128, 256), (784, 128, 1024), (784, 512, 256)]  # inputs, units, batch


def case(inputs: int, units: int, batch: int, guided: bool, turns: int) -> tuple[int, float, float]:
    """Parameters, and the milliseconds of the evaluations and of an estimate."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(inputs, units), torch.nn.ReLU(), torch.nn.Linear(units, 10)
    model, X, y = torch.nn.Sequential(*layers), torch.randn(batch, inputs), torch.arange(batch) % 10

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(X), y)

    loss().backward()
    es = ESGradient(model, loss, n_pairs=PAIRS, random_state=0, guide=True if guided else None)

    def evaluations() -> None:
        with torch.no_grad():
            for _ in range(2 * PAIRS):
                loss().item()

    es.backward()  # compiles, if it was not compiled before
    times = in_turns([evaluations, es.backward], turns)
    return sum(p.numel() for p in model.parameters()), times[0] * 1e3, times[1] * 1e3


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=21)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    print(header("torch"))
    print("inputs units batch parameters guided evaluations ms estimate ms  share")
    for inputs, units, batch in CASES:
        for guided in (False, True):
            n, own, whole = case(inputs, units, batch, guided, turns)
            print(
                f"{inputs:6} {units:5} {batch:5} {n:10,} {guided!s:>6} {own:14.2f} {whole:11.2f}"
                f" {whole / own - 1:6.1%}"
            )


if __name__ == "__main__":
    main()
