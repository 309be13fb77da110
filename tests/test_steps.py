"""init, ask and tell are pure; a population searched one way; what a step says of a generation."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
from problems import X0, bits, bowl, loop, make, slope, state, vanilla

from blackbox_es import EvaluationError, Isotropic, config, steps
from blackbox_es._value import check
from blackbox_es.samplers import directions
from blackbox_es.steps import Plan, State
from blackbox_es.strategies import STRATEGIES
from blackbox_es.strategy import EvolutionStrategy


@config
class OneSided(EvolutionStrategy):
    """Each direction is searched one way; ranks have mean zero, as the estimate needs."""

    sigma: float = 0.1
    shaping: str = "centered_ranks"
    stop_at: int = 10**9

    def _init(self, x):
        return State(x, 0)

    def _ask(self, state, surrogate):
        n = state.x.size
        return state, Plan(Isotropic(n, self.sigma), self.pairs(n), mirrored=False)

    def _tell(self, state, told):
        return State(state.x - 0.05 * told.gradient(1.0), state.t + 1)

    def _stop(self, state):
        return "tol" if state.t >= self.stop_at else None


def values_of(generation):
    return bowl(generation.points()).astype(float).reshape(generation.halves, -1)


def one_sided(**options):
    return OneSided(**{"n_pairs": 6, "max_iter": 30, "random_state": 3, **options})


def flat_sgd(**options):
    """A strategy whose step is a multiple of the estimate, at its first generation."""
    es = make("vanilla-es", optimizer="sgd", **options)
    return es, *steps.ask(es, steps.init(es, X0), 7)


# -- purity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", STRATEGIES)
def test_steps_change_nothing_and_depend_on_nothing_else(name, dtype):
    """What is given stays bit for bit as it was, writable or not, and gives the same again."""
    es = make(name)
    x = X0.astype(dtype)
    state, given = steps.init(es, x), bits(x)
    assert bits(steps.init(es, x)) == bits(state)
    for _ in range(4):
        guide = slope(state.x) if es.takes_surrogate else None
        for held in (state, copy.deepcopy(state)):  # the arrays of a copy can be written to
            before, params, surrogate = bits(held), bits(es.get_params()), bits(guide)
            asked, generation = steps.ask(es, held, 5, guide)
            told, values = bits(asked), values_of(generation)
            points = bits([generation, generation.points(), values])
            after = steps.tell(es, asked, generation, values)
            assert bits([generation, generation.points(), values]) == points
            assert (bits(held), bits(asked)) == (before, told)
            assert (bits(es.get_params()), bits(guide)) == (params, surrogate)
            assert bits(steps.ask(es, held, 5, guide)) == bits((asked, generation))
            assert bits(steps.tell(es, asked, generation, values)) == bits(after)
        state, info = after
        assert info.stop is None
        assert state.x.dtype == dtype
    assert bits(x) == given


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", STRATEGIES)
def test_states_hold_what_they_declare(name, dtype):
    """From the start on: shapes, ranges, and arrays of the dtype of x."""
    es = make(name)
    state = steps.init(es, X0.astype(dtype))
    for t in range(4):
        check(state, 3, dtype)
        assert (state.t, state.x.shape) == (t, (3,))
        state, generation = steps.ask(es, state, 5, slope(state.x) if es.takes_surrogate else None)
        check(state, 3, dtype)
        check(generation, 3, dtype)
        state, _ = steps.tell(es, state, generation, values_of(generation))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_of_equal_parameters_takes_the_same_steps(name):
    """Nothing is kept in the strategy: each step may be taken by another one."""
    one, states = make(name), []
    for strategies in ([one] * 9, [make(name) for _ in range(9)]):
        state = steps.init(strategies[0], X0)
        for k in range(0, 8, 2):
            state, generation = steps.ask(strategies[k], state, 5)
            state, _ = steps.tell(strategies[k + 1], state, generation, values_of(generation))
        states.append(bits(state))
    assert states[0] == states[1]
    assert vars(one) == vars(make(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_shell_takes_the_same_steps(name):
    """start, ask and tell are init, ask and tell with the seed of the search."""
    es = make(name).start(X0)
    state = steps.init(es, X0)
    while not es.stop_reason_:
        guide = slope(state.x) if es.takes_surrogate else None
        state, generation = steps.ask(es, state, 7, guide)
        X = es.ask(guide)
        assert bits(X) == bits(generation.points())
        es.tell(X, bowl(X))
        state, info = steps.tell(es, state, generation, values_of(generation))
        assert bits(es.state_) == bits(state)
        assert es.fun_ == info.mean
    assert es.n_iter_ == 5


@pytest.mark.parametrize("name", [n for n, cls in STRATEGIES.items() if not cls.takes_surrogate])
def test_a_surrogate_is_refused_where_none_is_used(name):
    es = make(name)
    with pytest.raises(ValueError, match="uses no surrogate"):
        steps.ask(es, steps.init(es, X0), 5, slope(X0))


# -- one way of each direction -------------------------------------------------------------------


def test_one_sided_points_and_estimate():
    """P points x + d_p, and ``sum_p u_p d_p / (n sigma^2 P)``."""
    es = one_sided()
    state, generation = steps.ask(es, steps.init(es, X0), 3)
    d = directions(generation.sampler, generation.key, (0, 6))
    np.testing.assert_allclose(generation.points(), X0 + d, rtol=1e-6)
    values = values_of(generation)
    assert values.shape == (1, 6)
    after, _ = steps.tell(es, state, generation, values)
    ranks = values[0].argsort().argsort()
    u = (ranks - ranks.mean()) / 5.0  # centered ranks are from -1/2 to 1/2
    np.testing.assert_allclose((X0 - after.x) / 0.05, u @ d / (3 * 0.1**2 * 6), rtol=1e-5)


def test_one_sided_search_by_any_way():
    """fit, ask and tell, pairs in parts, and trials out of order are one search."""
    fitted = one_sided().fit(bowl, X0)
    assert fitted.stop_reason_ == "max_iter"
    assert fitted.n_evaluations_ == 30 * 6 + 1
    assert fitted.history_["n_evaluations"].tolist() == list(range(6, 181, 6))
    assert fitted.fun_best_ < bowl(X0) / 2
    expected = state(fitted, final=False)
    assert state(one_sided(vectorized=True).fit(bowl, X0), final=False) == expected

    es = loop(one_sided().start(X0))
    assert es.n_evaluations_ == 30 * 6
    assert state(es, final=False) == expected

    es = one_sided().start(X0)
    while not es.stop_reason_:
        X = es.ask()
        assert X.shape == (6, 3)
        for part in (X[4:], X[:4]):
            es.tell([(x, bowl(x)) for x in part])
    assert state(es, final=False) == expected

    es = one_sided().start(X0)
    while not es.stop_reason_:
        for trial in list(es.ask_trials())[::-1]:
            es.tell_trial(trial.id, bowl(trial.x))
    assert state(es, final=False) == expected


def test_one_sided_search_goes_on_from_a_file(tmp_path):
    """Saved in mid-generation, it ends as the one that was not."""
    es = one_sided().start(X0)
    es.tell(es.ask(), bowl(es.ask()))
    for trial, _ in zip(es.ask_trials(), range(4), strict=False):
        es.tell_trial(trial.id, bowl(trial.x))
    es.save(tmp_path / "run.npz")
    loaded = OneSided.load(tmp_path / "run.npz")
    assert not loaded._search.pending.generation.mirrored
    assert state(loop(loaded)) == state(loop(es))


# -- what a step says ----------------------------------------------------------------------------


def test_minus_infinity_ends_the_search_where_it_is():
    """The state stays but for its count."""
    es, before, generation = flat_sgd()
    values = values_of(generation)
    values[1, 2] = -math.inf
    after, info = steps.tell(es, before, generation, values)
    assert (info.stop, info.n_failed) == ("unbounded", 0)
    assert bits(after) == bits(replace(before, t=1))


def test_a_step_that_overflows_is_not_taken():
    """The center, the optimizer and all else are those before."""
    es, before, generation = flat_sgd(learning_rate=1e308)
    with np.errstate(over="ignore", invalid="ignore"):
        after, info = steps.tell(es, before, generation, 1e3 * values_of(generation))
    assert info.stop == "non_finite"
    assert bits(after) == bits(replace(before, t=1))


def test_a_generation_is_flat_if_no_direction_differs_from_its_opposite():
    es, before, generation = flat_sgd()
    row = np.array([1.0, 2.0, 3.0])
    for values, flat in [(np.ones((2, 3)), True), (np.stack([row, row]), True),
                         (np.stack([row, row + np.arange(3)]), False)]:  # fmt: skip
        after, info = steps.tell(es, before, generation, values)
        assert (info.flat, info.stop) == (flat, None)
        assert np.array_equal(after.x, X0) == flat


@pytest.mark.parametrize("shaping", ["raw", "centered_ranks"])
def test_a_one_sided_generation_is_flat_if_no_direction_differs_from_another(shaping):
    """Those that failed say nothing; one direction alone has none to differ from."""
    es = one_sided(shaping=shaping)
    state, generation = steps.ask(es, steps.init(es, X0), 3)
    for values, flat in [([5, 5, 5, 5, 5, 5], True), ([5, 5, math.nan, 5, 5, 5], True),
                         ([5, 5, 5, 5, 5, 6], False)]:  # fmt: skip
        _, info = steps.tell(es, state, generation, np.array([values], float))
        assert info.flat == flat
    one = replace(generation, n_pairs=1)
    assert not steps.tell(es, state, one, np.array([[5.0]]))[1].flat
    assert es.fit(lambda x: 5.0, X0).stop_reason_ == "flat"
    assert es.n_iter_ == steps.FLAT_GENERATIONS


def test_failures_are_counted_and_the_mean_is_of_what_is_finite():
    es, before, generation = flat_sgd()
    values = np.array([[1.0, 2.0, math.nan], [3.0, 6.0, 9.0]])
    _, info = steps.tell(es, before, generation, values)
    assert (info.n_failed, info.stop) == (1, None)
    assert info.mean == np.mean([1.0, 2.0, 3.0, 6.0, 9.0])


@pytest.mark.parametrize("name", STRATEGIES)
def test_too_many_failures_take_no_step(name):
    """More than half of the pairs: EvaluationError, and the state is as it was."""
    es = make(name)
    state, generation = steps.ask(es, steps.init(es, X0), 5)
    before, values = bits(state), values_of(generation)
    values[0, :2] = math.nan
    with pytest.raises(EvaluationError):
        steps.tell(es, state, generation, values)
    assert bits(state) == before


def test_a_reason_of_the_strategy_ends_the_search():
    """It is asked of the state after the step, ends the search, and counts as success."""
    es = one_sided(stop_at=1)
    state, generation = steps.ask(es, steps.init(es, X0), 3)
    after, info = steps.tell(es, state, generation, values_of(generation))
    assert info.stop == "tol"
    assert after.t == 1
    es.fit(bowl, X0)
    assert (es.stop_reason_, es.n_iter_, es.result_.success) == ("tol", 1, True)


def test_what_a_step_gives_is_read_only():
    """A center or an estimate that is written to would change the search."""
    es = vanilla().start(X0)
    es.tell(es.ask(), np.arange(8.0))
    for array in (es.x_, es.state_.x, es.gradient_):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_a_plateau_is_left_after_twenty_generations():
    """No more and no fewer: one that is seen once may be left by the next directions."""
    es = vanilla(max_iter=100).fit(lambda x: 1.0, X0)
    assert (es.stop_reason_, es.n_iter_) == ("flat", 20)
