"""Searches on unrolled problems: files, budgets, failures, errors, exactness."""

import pickle

import numpy as np
import pytest
from problems import bits

from blackbox_es import Adam, CheckpointError, EvaluationError, Linear, checkpoint
from blackbox_es.unrolled import (
    FullES,
    NoiseReuseES,
    PersistentES,
    TruncatedES,
    UnrolledProblem,
    unroll,
)
from blackbox_es.unrolled.tasks import InfluenceBalancing, RandomQuadratics, ToySchedule

ALL = (FullES, TruncatedES, PersistentES, NoiseReuseES)
PROBLEM = RandomQuadratics(3, 4, horizon=6)
THETA = PROBLEM.start(0)
every = pytest.mark.parametrize("cls", ALL)
guided = pytest.mark.parametrize("alpha", [1.0, 0.5])


def make(cls, **options):
    common = {"truncation": 2, "n_pairs": 4, "n_guides": 2, "max_iter": 9, "random_state": 3}
    return cls(**{**common, **options})


def outcome(es):
    """All that a search knows, as bits."""
    state = es.state_
    arrays = [state.x, state.gradient, state.pairs.score, *state.pairs.inner]
    arrays += [] if state.scout is None else [state.scout.guides, *state.scout.inner]
    return [bits(array) for array in (*arrays, *es.history_.values())], es.n_evaluations_


@every
@guided
def test_saved_anywhere_and_resumed_is_never_stopped(cls, alpha, tmp_path):
    """The same bits, by a file, by a pickle and in the same object."""
    whole = outcome(make(cls, alpha=alpha).fit(PROBLEM, THETA))
    for n in (1, 4, 8):
        es = make(cls, alpha=alpha, max_iter=n).fit(PROBLEM, THETA)
        es.save(tmp_path / "run.npz")
        loaded = cls.load(tmp_path / "run.npz", max_iter=9)
        assert loaded.stop_reason_ == "max_iter"
        pickled = pickle.loads(pickle.dumps(es)).set_params(max_iter=9)
        for again in (loaded, pickled, es.set_params(max_iter=9)):
            assert outcome(again.fit(PROBLEM, resume=True)) == whole


@every
def test_interrupted_and_resumed_is_never_stopped(cls):
    """A step that raises has not happened."""

    class Interrupted(RandomQuadratics):
        calls = 0

        def step(self, theta, state, t, seeds):
            self.calls += 1
            if self.calls == 17:
                raise KeyboardInterrupt
            return super().step(theta, state, t, seeds)

    problem, es = Interrupted(3, 4, horizon=6), make(cls)
    with pytest.raises(KeyboardInterrupt):
        es.fit(problem, THETA)
    assert es.stop_reason_ is None
    assert 0 < es.n_iter_ < 9
    assert outcome(es.fit(problem, resume=True)) == outcome(make(cls).fit(PROBLEM, THETA))


@every
@guided
def test_one_row_at_a_time(cls, alpha):
    """The search does not depend on how many particles a problem steps at once."""

    class Loop(RandomQuadratics):
        def step(self, theta, state, t, seeds):
            done = [
                super(Loop, self).step(
                    theta[i : i + 1], tuple(part[i : i + 1] for part in state),
                    t[i : i + 1], seeds[i : i + 1],
                )
                for i in range(len(theta))
            ]  # fmt: skip
            states, losses = zip(*done, strict=True)
            return tuple(map(np.concatenate, zip(*states, strict=True))), np.concatenate(losses)

    found = make(cls, alpha=alpha).fit(Loop(3, 4, horizon=6), THETA)
    assert outcome(found) == outcome(make(cls, alpha=alpha).fit(PROBLEM, THETA))


@every
def test_seeds(cls):
    """A fit is a function of its seed; a second one is as the first."""
    es = make(cls)
    first = outcome(es.fit(PROBLEM, THETA))
    assert outcome(es.fit(PROBLEM, THETA)) == first
    assert outcome(make(cls, random_state=4).fit(PROBLEM, THETA)) != first


class Watched(InfluenceBalancing):
    """Notes how many particles are stepped, when, and with which seeds."""

    def __init__(self, horizon=12):
        self.seen = []
        super().__init__(3, 1, horizon=horizon)
        self.seen.clear()

    def forward(self, theta, state, t, seeds):
        self.seen.append((len(theta), t.tolist(), seeds.tolist()))
        return super().forward(theta, state, t, seeds)


@every
@guided
def test_evaluations_are_inner_steps(cls, alpha):
    """All of them are counted, those that are differentiated three times; the budget is kept."""
    problem = Watched()
    es = make(cls, alpha=alpha, max_iter=7).fit(problem, [0.5])
    steps = [n for n, *_ in problem.seen]
    scouted = sum(n for n in steps if n == 1)
    assert es.n_evaluations_ == sum(steps) + 2 * scouted
    assert (scouted > 0) == (alpha < 1.0)
    each = es.n_evaluations_ // 7
    exact = make(cls, alpha=alpha, max_evals=4 * each).fit(problem, [0.5])
    assert exact.n_evaluations_ == 4 * each
    short = make(cls, alpha=alpha, max_evals=4 * each - 1).fit(problem, [0.5])
    assert (short.n_iter_, short.stop_reason_) == (3, "max_evals")
    assert short.n_evaluations_ == 3 * each
    assert (short.history_["n_evaluations"] == each * np.arange(1, 4)).all()


@every
def test_both_of_a_pair_have_a_seed_which_an_episode_keeps(cls):
    """Different ones for pairs and for episodes; an episode has all of its steps, in order."""
    problem = Watched(horizon=6)
    make(cls, max_iter=12).fit(problem, [0.5])
    episodes = {}
    for n, t, seeds in problem.seen:
        assert seeds[:4] == seeds[4:]
        assert t[:4] == t[4:]
        assert len(set(seeds[:4])) == 4
        assert n == 8
        for step, seed in zip(t[:4], seeds[:4], strict=True):
            episodes.setdefault(seed, []).append(step)
    assert all(steps == [*range(len(steps))] for steps in episodes.values())
    assert len(episodes) > 12
    assert max(map(len, episodes.values())) == 6


def test_the_particle_without_noise_has_episodes_of_its_own():
    """From the first step to the last with one seed, which no pair has."""
    problem = Watched(horizon=6)
    make(PersistentES, alpha=0.5, max_iter=9).fit(problem, [0.5])
    alone = [(t[0], seeds[0]) for n, t, seeds in problem.seen if n == 1]
    of_pairs = {seed for n, _, seeds in problem.seen for seed in seeds if n > 1}
    assert [t for t, _ in alone] == [*range(6)] * 3
    assert [len({seed for _, seed in alone[i : i + 6]}) for i in (0, 6, 12)] == [1, 1, 1]
    assert len({seed for _, seed in alone}) == 3
    assert not {seed for _, seed in alone} & of_pairs


class Fragile(UnrolledProblem):
    """``s' = s + theta``, not finite for one seed of each episode's beginning; loss s'."""

    horizon = 4

    def __init__(self, fails):
        self.fails = fails

    def init(self, seeds):
        return (np.zeros(len(seeds)),)

    def step(self, theta, state, t, seeds):
        s = state[0] + theta[:, 0]
        s = np.where(self.fails(seeds, t), np.nan, s)
        return (s,), s


def test_a_pair_that_fails_is_left_out_and_begins_anew():
    """NaN counts for nothing, and does not stay."""
    seen = []
    es = PersistentES(truncation=1, n_pairs=4, max_iter=8, random_state=1)
    es.fit(Fragile(lambda seeds, t: t > 9), [0.0])
    planned, bad = es.state_.pairs.born, []

    def fails(seeds, t):
        if not bad:
            bad.append(seeds[0])
        return (seeds == bad[0]) & (t == 1)

    es = PersistentES(truncation=1, n_pairs=4, max_iter=8, random_state=1)
    es.fit(Fragile(fails), [0.0], callback=lambda x: seen.append(es.state_.pairs))
    assert es.history_["n_failed"].tolist() == [0, 2, 0, 0, 0, 0, 0, 0]
    assert seen[2].born[0] == 2  # and of the others those that had planned to
    assert np.isfinite(es.x_).all()
    assert np.isfinite(seen[2].inner[0]).all()
    assert (es.state_.pairs.born != planned).tolist() == [True, False, False, False]


def test_more_than_half_failed():
    """An error, and the search is that of the last iteration."""
    es, calls = TruncatedES(truncation=2, n_pairs=4, max_iter=8, random_state=1), []

    def fails(seeds, t):
        calls.append(t)
        return len(calls) > 6

    with pytest.raises(EvaluationError, match="4 of 4 pairs of generation 3"):
        es.fit(Fragile(fails), [0.0])
    assert es.n_iter_ == len(es.history_["mean"]) == 3


def test_minus_infinity_is_a_failure():
    """As any loss that is not finite: an episode's mean has no use for it."""

    class Unbounded(Fragile):
        def step(self, theta, state, t, seeds):
            losses = np.where(seeds == seeds[0], -np.inf, theta[:, 0])
            return state, losses

    es = make(TruncatedES, max_iter=3).fit(Unbounded(None), [0.0])
    assert (es.history_["n_failed"] == 2).all()
    assert es.x_ < 0.0


def test_a_step_that_is_not_finite_is_not_taken():
    """x stays, and the reason is given."""
    es = FullES(optimizer="sgd", learning_rate=1e300, n_pairs=2, truncation=1, sigma=1e-9)

    class Steep(Fragile):
        def step(self, theta, state, t, seeds):
            return state, 1e150 * theta[:, 0]

    es.fit(Steep(None), [1.0])
    assert es.stop_reason_ == "non_finite"
    assert es.x_ == [1.0]


@every
@guided
def test_float32_stays_float32(cls, alpha):
    """Anything else is float64; the start is copied, and what is handed out is read-only."""
    x0 = THETA.astype(np.float32)
    es = make(cls, alpha=alpha).fit(PROBLEM, x0)
    assert es.x_.dtype == es.gradient_.dtype == np.float32
    assert make(cls).fit(InfluenceBalancing(horizon=6), [1]).x_.dtype == np.float64
    assert bits(x0) == bits(THETA.astype(np.float32))
    for array in (es.x_, es.gradient_, es.history_["mean"], es.state_.pairs.score):
        assert not array.flags.writeable


def test_a_row_of_a_step_that_was_cut_short_is_no_history():
    """An interrupt may come between the row and the step."""
    es = make(FullES, max_iter=3).fit(PROBLEM, THETA)
    es._search.rows.append((0.0, 0.0, 0.0))
    again = es.set_params(max_iter=9).fit(PROBLEM, resume=True)
    assert outcome(again) == outcome(make(FullES).fit(PROBLEM, THETA))


def test_schedules_and_optimizers():
    """sigma and learning_rate may be schedules; the score has the sigma of its own iteration."""
    es = make(PersistentES, sigma=Linear(0.1, 0.05, 9), learning_rate=Linear(0.1, 0.0, 9))
    adam = make(PersistentES, sigma=Linear(0.1, 0.05, 9), optimizer=Adam(Linear(0.1, 0.0, 9)))
    assert outcome(es.fit(PROBLEM, THETA)) == outcome(adam.fit(PROBLEM, THETA))
    with pytest.raises(ValueError, match=r"sigma=0\.0 in iteration 4: it must be positive"):
        make(NoiseReuseES, sigma=Linear(0.1, 0.0, 4)).fit(PROBLEM, THETA)


def test_callback():
    """After each iteration; StopIteration ends the search, which can go on."""
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result)
        if intermediate_result.nit == 3:
            raise StopIteration

    es = make(NoiseReuseES).fit(PROBLEM, THETA, callback)
    assert (es.stop_reason_, es.n_iter_) == ("callback", 3)
    assert [r.fun for r in seen] == es.history_["mean"].tolist()
    assert seen[-1].nfev == es.n_evaluations_
    whole = outcome(make(NoiseReuseES).fit(PROBLEM, THETA))
    assert outcome(es.fit(PROBLEM, resume=True)) == whole


def test_states_are_not_written_to():
    """A problem that writes into a state it is given is told so."""

    class Writes(Fragile):
        def step(self, theta, state, t, seeds):
            state[0][:] += theta[:, 0]
            return state, state[0]

    with pytest.raises(ValueError, match="read-only"):
        make(TruncatedES, truncation=1).fit(Writes(None), [0.0])


WRONG = [
    ({"truncation": 5}, "truncation=5: expected a divisor of the horizon 6"),
    ({"truncation": 0}, "truncation=0: expected an integer"),
    ({"n_pairs": 0}, "n_pairs=0"),
    ({"sigma": -1.0}, "sigma=-1.0: expected a positive number or a schedule"),
    ({"n_guides": 4}, "n_guides=4: expected an integer from 1 to 3"),
    ({"alpha": 0.0}, "alpha=0.0: expected a positive number"),
    ({"alpha": 1.5}, "alpha=1.5: expected a number from 0 to 1"),
    ({"learning_rate": 0}, "learning_rate=0: expected a positive number"),
    ({"optimizer": "x"}, "optimizer='x' is unknown"),
    ({"max_iter": 0}, "max_iter=0"),
    ({"max_evals": 0.5}, "max_evals=0.5"),
    ({"random_state": -1}, "random_state=-1"),
]


@every
@pytest.mark.parametrize(("params", "message"), WRONG)
def test_wrong_parameters(cls, params, message):
    """Named with value and cure, before anything has changed."""
    es = make(cls).fit(PROBLEM, THETA)
    before = outcome(es)
    with pytest.raises(ValueError, match=message):
        es.set_params(**params).fit(PROBLEM, THETA)
    assert outcome(es) == before


def test_wrong_arguments():
    """Of fit, and of problems."""
    es = make(PersistentES)
    with pytest.raises(TypeError, match="problem=3: expected an UnrolledProblem"):
        es.fit(3, THETA)
    with pytest.raises(ValueError, match="give theta0 to begin, or resume=True to go on"):
        es.fit(PROBLEM)
    with pytest.raises(ValueError, match="give theta0 to begin, or resume=True to go on"):
        es.fit(PROBLEM, THETA, resume=True)
    with pytest.raises(RuntimeError, match="there is no search: call fit"):
        es.fit(PROBLEM, resume=True)
    with pytest.raises(ValueError, match=r"theta0 has shape \(1, 1\)"):
        es.fit(PROBLEM, [[1.0]])
    with pytest.raises(NotImplementedError, match=r"Fragile has no truncated_gradient.*alpha=1\.0"):
        make(FullES, alpha=0.5).fit(Fragile(None), [1.0])
    assert not hasattr(es, "x_")

    class Short(Fragile):
        def step(self, theta, state, t, seeds):
            return state, theta[:3, 0]

    with pytest.raises(ValueError, match=r"the losses of a step has shape \(3,\)"):
        es.fit(Short(None), [1.0])


def test_files_that_are_no_such_search(tmp_path):
    """Another class, something else, and parameters that could not be saved."""
    path = tmp_path / "run.npz"
    make(PersistentES, sigma=lambda t: 0.1).fit(PROBLEM, THETA).save(path)
    with pytest.raises(CheckpointError, match="of PersistentES, not of FullES"):
        FullES.load(path)
    with pytest.raises(ValueError, match=r"could not hold sigma: load\(path, sigma=...\)"):
        PersistentES.load(path)
    again = PersistentES.load(path, sigma=lambda t: 0.1, max_iter=11)
    assert again.fit(PROBLEM, resume=True).n_iter_ == 11
    meta, arrays = checkpoint.read(path)
    name = next(name for name, a in arrays.items() if a.shape == (4, THETA.size))
    checkpoint.write(path, meta, {**arrays, name: arrays[name][:3]})
    with pytest.raises(CheckpointError, match="holds no search: scores of shape"):
        PersistentES.load(path, sigma=0.1)
    path.write_bytes(b"PK nothing")
    with pytest.raises(CheckpointError):
        PersistentES.load(path)


def test_a_search_goes_on_only_with_its_number_of_pairs_and_parameters(tmp_path):
    """What does not fit the particles is refused."""
    es = make(PersistentES).fit(PROBLEM, THETA)
    with pytest.raises(ValueError, match="n_pairs=5 was 4 when the search began: set it back"):
        es.set_params(n_pairs=5).fit(PROBLEM, resume=True)
    es.set_params(n_pairs=4).save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="n_pairs=5 was 4"):
        PersistentES.load(tmp_path / "run.npz", n_pairs=5).fit(PROBLEM, resume=True)
    with pytest.raises(ValueError, match="truncation=3 was 2"):
        es.set_params(n_pairs=4, truncation=3).fit(PROBLEM, resume=True)
    with pytest.raises(ValueError, match=r"alpha=0\.5 was 1\.0"):
        es.set_params(truncation=2, alpha=0.5).fit(PROBLEM, resume=True)


def test_unroll():
    """The mean loss of whole episodes, by seed, for one theta or for rows."""
    problem = ToySchedule(horizon=5)
    one = unroll(problem, [-1.0, -2.0], [0, 1])
    assert one.shape == (2,)
    rows = unroll(problem, [[-1.0, -2.0], [-3.0, -2.0]], [0, 1])
    assert rows[0] == one[0] != rows[1]


@every
def test_better_than_it_was(cls):
    """Each of them lowers a mean loss whose windows agree."""
    es = make(cls, sigma=0.1, learning_rate=0.05, n_pairs=10, max_iter=120)
    seeds = np.arange(1000, 1100)
    before = unroll(PROBLEM, THETA, seeds).mean()
    assert unroll(PROBLEM, es.fit(PROBLEM, THETA).x_, seeds).mean() < 0.9 * before
