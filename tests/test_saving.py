"""Saving a search and going on: the same bits as if nothing had happened."""

import copy
import pickle

import numpy as np
import pytest
from problems import bits, takes

from blackbox_es import SGD, Adam, CheckpointError, ClipUp, GuidedES, Linear, LowRank, VanillaES
from blackbox_es.strategies import STRATEGIES

OPTIONS = {
    "plain": {},
    "schedules": {"sigma": Linear(0.2, 0.1, 30), "learning_rate": Linear(0.1, 0.0, 30)},
    "momentum": {"optimizer": SGD(momentum=0.9), "shaping": "nes", "max_time": 1e6},
    "clipup": {"optimizer": ClipUp(0.1), "shaping": "centered_ranks", "max_evals": 10_000},
    "adam": {"optimizer": Adam(beta_1=0.5), "n_pairs": np.int64(4), "beta": 3.0},
    "signs": {"sampler": LowRank(((2, 1), (1, 2)))},
}


def objective(x):
    return float((x**2).sum() + np.cos(x).sum())


def make(name, **options):
    guides = {"n_guides": 3} if takes(name, n_guides=3) else {}
    guides |= {"n_windows": 7} if takes(name, n_windows=7) else {}
    return STRATEGIES[name](**{"max_iter": 30, "random_state": 7, **guides, **options})


def surrogate(es):
    return es.x_ + 0.1 if isinstance(es, GuidedES) else None


def go_on(es):
    while not es.stop_reason_:
        for trial in es.ask_trials(surrogate(es)):
            es.tell_trial(trial.id, objective(trial.x))
    return es


def everything(es):
    return (
        es.x_.tobytes(), es.x_best_.tobytes(), bits(es.state_), es.fun_best_,
        bits(es.history_), es.n_iter_, es.n_evaluations_, es.stop_reason_, es.x_.flags.writeable,
    )  # fmt: skip


@pytest.mark.parametrize("n_told", [0, 1, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        (name, options)
        for name in STRATEGIES
        for options in OPTIONS.values()
        if takes(name, n=7, **options)
    ],
    ids=lambda item: item if isinstance(item, str) else "-".join(item),
)
def test_loaded_goes_on_bit_for_bit(name, options, dtype, n_told, tmp_path):
    """Saved in mid-generation and loaded: the end is that of a search that was not stopped."""
    x0 = np.linspace(-1, 1, 7, dtype=dtype)
    uninterrupted = go_on(make(name, **options).start(x0))
    es = make(name, **options).start(x0)
    for _ in range(11):
        X = es.ask(surrogate(es))
        es.tell(X, [objective(x) for x in X])
    for trial, _ in zip(es.ask_trials(surrogate(es)), range(n_told), strict=False):
        es.tell_trial(trial.id, objective(trial.x))
    es.save(tmp_path / "run.npz")
    loaded = STRATEGIES[name].load(tmp_path / "run.npz")
    assert repr(loaded) == repr(es)
    assert everything(go_on(loaded)) == everything(uninterrupted)


@pytest.mark.parametrize("copied", [lambda es: pickle.loads(pickle.dumps(es)), copy.deepcopy],
                         ids=["pickle", "deepcopy"])  # fmt: skip
@pytest.mark.parametrize("name", STRATEGIES)
def test_copies_go_on_bit_for_bit(name, copied):
    """A copy of a running search ends as it does, and neither moves the other."""
    uninterrupted = go_on(make(name).start(np.linspace(-1, 1, 7)))
    es = make(name).start(np.linspace(-1, 1, 7))
    copies = []
    while not es.stop_reason_:
        for i, trial in enumerate(es.ask_trials(surrogate(es))):
            if i == es.n_iter_ % 3 and len(copies) < 12:
                copies.append(copied(es))
                assert [t.id for t in copies[-1].ask_trials()] == [t.id for t in es.ask_trials()]
            es.tell_trial(trial.id, objective(trial.x))
    assert len(copies) == 12
    for twin in (es, *copies):
        assert everything(go_on(twin)) == everything(uninterrupted)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_larger_budget_goes_on(name, tmp_path):
    """Loaded with a larger budget, a search that has used up its own is the longer search."""
    es = go_on(make(name).start(np.ones(3)))
    es.save(tmp_path / "run.npz")
    assert STRATEGIES[name].load(tmp_path / "run.npz").stop_reason_ == "max_iter"
    longer = go_on(STRATEGIES[name].load(tmp_path / "run.npz", max_iter=50))
    assert everything(longer) == everything(go_on(make(name, max_iter=50).start(np.ones(3))))


def test_a_search_that_failed_stays_ended(tmp_path):
    """A larger budget does not help where the objective is flat."""
    es = make("vanilla-es").fit(lambda x: 1.0, np.ones(3))
    assert es.stop_reason_ == "flat"
    es.save(tmp_path / "run.npz")
    assert VanillaES.load(tmp_path / "run.npz", max_iter=50).stop_reason_ == "flat"


def test_saving_changes_nothing(tmp_path):
    """A search that is saved in every generation is the search."""
    es = make("vanilla-es").start(np.ones(3))
    while not es.stop_reason_:
        X = es.ask()
        es.save(tmp_path / "run.npz")
        es.tell(X, [objective(x) for x in X])
    assert everything(es) == everything(go_on(make("vanilla-es").start(np.ones(3))))


def test_functions_are_asked_for(tmp_path):
    """A function of the user's is not written; loading asks for it by name, and takes it."""

    class Mine(Exception):
        pass

    es = make("vanilla-es", shaping=lambda values: values, catch=(Mine,)).start(np.ones(3))
    es.save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="could not hold catch, shaping: load"):
        VanillaES.load(tmp_path / "run.npz")
    given = {"shaping": lambda values: values, "catch": (Mine,)}
    loaded = VanillaES.load(tmp_path / "run.npz", **given)
    assert everything(go_on(loaded)) == everything(go_on(es))


def test_a_generator_is_passed_again(tmp_path):
    """A generator is not saved, but the seed it gave: with any generator the search goes on."""
    es = make("vanilla-es", random_state=np.random.default_rng(1)).start(np.ones(3))
    es.save(tmp_path / "run.npz")
    generator = np.random.default_rng(2)
    loaded = VanillaES.load(tmp_path / "run.npz", random_state=generator)
    assert loaded.random_state is generator
    assert everything(go_on(loaded)) == everything(go_on(es))


def test_another_strategy_refuses(tmp_path):
    """A checkpoint is of one class."""
    make("vanilla-es").start(np.ones(3)).save(tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match="of VanillaES, not of GuidedES"):
        GuidedES.load(tmp_path / "run.npz")


def test_nothing_to_save(tmp_path):
    """Before start there is nothing to save, and no file is written."""
    with pytest.raises(RuntimeError, match="call start"):
        VanillaES().save(tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_refused(tmp_path):
    """Whatever is wrong with the file, it is a CheckpointError."""
    path = tmp_path / "run.npz"
    make("vanilla-es").start(np.ones(3)).save(path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            VanillaES.load(path)
