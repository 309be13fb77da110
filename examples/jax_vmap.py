"""Whole generations in one call of JAX, guided by the gradient of what can be differentiated.

A small network with units that are a step has no gradient. `jax.vmap` evaluates it for all points
of a generation at once: with `vectorized=True` the objective is given the same tree as `x0`, with
one more axis before the others. The guide is `jax.grad` of the same loss with steep sigmoids in the
place of steps: correlated with the truth, and wrong. Each generation has examples of its own, drawn
by `seed`, the same for all of its points.

Expect the guided search to end at about half the error of the one from values alone. With sigmoids
that are not steep, `SLOPE = 1`, the guide is the gradient of something else, and does harm.

    python examples/jax_vmap.py
    python examples/jax_vmap.py --generations 20                         # a few seconds
"""

import argparse

import jax
import jax.numpy as jnp

from blackbox_es import GuidedES, VanillaES

INPUTS = jax.random.normal(jax.random.key(0), (2000, 4))
TARGETS = jnp.abs(INPUTS[:, 0]) - INPUTS[:, 1] * (INPUTS[:, 2] > 0)


SLOPE = 4.0


def start(units=64):
    """The parameters."""
    keys = jax.random.split(jax.random.key(1), 3)
    return {
        "weight": jax.random.normal(keys[0], (4, units)),
        "bias": jax.random.normal(keys[1], (units,)),
        "out": jax.random.normal(keys[2], (units,)) / units,
    }


def loss(params, unit, rows):
    """Mean squared error with units of this kind."""
    hidden = unit(INPUTS[rows] @ params["weight"] + params["bias"])
    return jnp.mean((hidden @ params["out"] - TARGETS[rows]) ** 2)


def step(a):
    """On or off."""
    return jnp.where(a > 0, 1.0, 0.0)


def sigmoid(a):
    """Nearly."""
    return jax.nn.sigmoid(SLOPE * a)


def drawn(seed):
    """The examples of a generation."""
    return jax.random.randint(jax.random.key(seed), (256,), 0, len(INPUTS))


@jax.jit
def objective(points, seed):
    """The values of all points."""
    return jax.vmap(loss, (0, None, None))(points, step, drawn(seed))


@jax.jit
def surrogate(params, seed):
    """The gradient of a network of sigmoids."""
    return jax.grad(loss)(params, sigmoid, drawn(seed))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=int, default=400)
    shared = {
        "vectorized": True,
        "n_pairs": 4,
        "sigma": 0.05,
        "learning_rate": 0.02,
        "max_iter": parser.parse_args().generations,
        "random_state": 0,
    }
    print(f"{'at the start':14} error {loss(start(), step, slice(None)):.4f}")
    for name, es, guide in (
        ("values alone", VanillaES(**shared), None),
        ("guided", GuidedES(**shared), surrogate),
    ):
        es.fit(objective, start(), guide)
        print(f"{name:14} error {loss(es.x_, step, slice(None)):.4f}")


if __name__ == "__main__":
    main()
