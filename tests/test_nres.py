"""NRES: directions are kept for an episode, so that windows add up to the whole."""

import numpy as np
from problems import X0, bits, bowl

from blackbox_es import steps
from blackbox_es.samplers import directions
from blackbox_es.strategies import NRES, VanillaES

OPTIONS = {"sigma": 0.3, "beta": 3.0, "n_pairs": 4, "optimizer": "sgd", "learning_rate": 1e-300}
SLOPES = np.random.default_rng(0).standard_normal((4, 3))


def episode(es, window):
    """The directions and the estimates of four windows, the center held still."""
    state, seen = steps.init(es, X0), []
    for t in range(4):
        state, generation = steps.ask(es, state, 5)
        d = directions(generation.sampler, generation.key, (0, 4))
        values = window(t, generation.points()).reshape(2, -1)
        state, _ = steps.tell(es, state, generation, values)
        seen.append((d, state.gradient))
    return seen


def test_windows_add_up_to_the_whole():
    """The sum of an episode's estimates is the antithetic estimate of the sum of its losses."""
    seen = episode(NRES(n_windows=4, **OPTIONS), lambda t, X: X @ SLOPES[t] + (X**2).sum(axis=1))
    d, total = seen[0][0], SLOPES.sum(axis=0) + 4 * 2 * X0
    expected = (d * (d @ total)[:, None]).sum(axis=0) * 3.0 / (3 * 0.3**2 * 4)
    np.testing.assert_allclose(sum(g for _, g in seen), expected, rtol=1e-9)


def test_directions_are_kept_for_an_episode():
    """The same in all windows of an episode, others in the next."""
    es = NRES(n_windows=2, **OPTIONS)
    d = [directions for directions, _ in episode(es, lambda t, X: X.sum(axis=1))]
    assert bits(d[0]) == bits(d[1])
    assert bits(d[2]) == bits(d[3]) != bits(d[0])


def test_inner_states_carry_the_past():
    """Of a recurrence s' = s / 2 + c x, whose rows keep s, the whole gradient is found.

    The last loss depends on all windows, sum_k c / 2^k of x: directions that are kept see all of
    it, fresh ones only the last window's share and noise from the states of other directions.
    """

    def unrolled():
        s = np.zeros(8)

        def window(t, X):
            s[:] = s / 2 + X @ SLOPES[0]
            return s.copy() if t == 3 else np.zeros(8)

        return window

    d, g = episode(NRES(n_windows=4, **OPTIONS), unrolled())[3]
    scale = 3.0 / (3 * 0.3**2 * 4)
    whole = (d * (d @ SLOPES[0])[:, None]).sum(axis=0) * scale
    np.testing.assert_allclose(g, (1 + 1 / 2 + 1 / 4 + 1 / 8) * whole, rtol=1e-9)
    fresh = episode(VanillaES(**OPTIONS), unrolled())
    last = fresh[3][0]
    parts = [last.T @ (d @ SLOPES[0]) * 2.0 ** (t - 3) for t, (d, _) in enumerate(fresh)]
    np.testing.assert_allclose(fresh[3][1], sum(parts) * scale, rtol=1e-9)


def test_one_window_is_vanilla():
    """n_windows=1 is VanillaES bit for bit."""
    found = [cls(random_state=1, max_iter=9).fit(bowl, X0).x_ for cls in (NRES, VanillaES)]
    assert bits(found[0]) == bits(found[1])
