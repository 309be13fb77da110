"""Tensors wherever arrays are, and estimates in the place of ``loss.backward()``."""

import doctest

import numpy as np
import pytest
from problems import bits

from blackbox_es import GuidedES, VanillaES, estimate_gradient, minimize
from blackbox_es.tree import planted

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import blackbox_es.torch  # noqa: E402
from blackbox_es.torch import ESGradient  # noqa: E402

X = torch.linspace(-1, 1, 12).reshape(4, 3)
Y = torch.tensor([[1.0], [-1.0], [0.5], [2.0]])


def network(*layers, dtype=torch.float32):
    """Two layers of 11 parameters, and what else there is between them."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 2), *layers, torch.nn.Tanh(), torch.nn.Linear(2, 1)
    ).to(dtype)


def vector(tensors):
    """All elements, as NumPy has them."""
    return np.concatenate([t.detach().numpy().ravel() for t in tensors])


def squares(model):
    """A loss of a batch."""
    return lambda X=X, y=Y: ((model(X) - y) ** 2).mean()


def held(model):
    """The bits of all that an estimate must leave alone."""
    tensors = [*model.parameters(), *model.buffers()]
    grads = [None if p.grad is None else bits(p.grad.numpy()) for p in model.parameters()]
    return (
        [bits(t.detach().numpy().copy()) for t in tensors],
        grads,
        bits(torch.get_rng_state().numpy()),
    )


def of_vector(model, loss):
    """The loss as a function of the vector of parameters, by a copy of the module."""
    sizes = [p.numel() for p in model.parameters()]

    def function(x):
        for p, part in zip(model.parameters(), torch.from_numpy(x).split(sizes), strict=True):
            p.data = part.reshape(p.shape)
        with torch.no_grad():
            return loss()

    return function


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options", [{}, {"shaping": "centered_ranks", "n_pairs": 3, "sigma": 0.02}]
)
def test_an_estimate_is_that_of_the_vector(dtype, options):
    """The gradient of `estimate_gradient`, bit for bit, in the shapes of the parameters."""
    model, other = network(dtype=dtype), network(dtype=dtype)
    es = ESGradient(model, squares(model), random_state=5, **options)
    if dtype == torch.float64:
        es.loss_fn = lambda: squares(model)(X.double(), Y.double())
    loss = es.backward()
    f = of_vector(other, lambda: squares(other)(X.to(dtype), Y.to(dtype)))
    expected = estimate_gradient(f, vector(model.parameters()), random_state=5, **options)
    assert bits(vector(p.grad for p in model.parameters())) == bits(expected)
    assert [p.grad.shape for p in model.parameters()] == [p.shape for p in model.parameters()]
    assert loss == pytest.approx(float(squares(model)(X.to(dtype), Y.to(dtype)).detach()), rel=0.2)


@pytest.mark.parametrize("how", ["what is in .grad", "a loss"])
def test_a_guided_estimate_is_that_of_the_vector(how):
    """With the gradient of a surrogate loss, either way."""
    model, other = network(), network()
    rough = lambda: model(X).sum()  # noqa: E731
    rough().backward()
    surrogate = vector(p.grad for p in model.parameters())
    es = ESGradient(model, squares(model), random_state=5, alpha=0.3,
                    guide=True if how == "what is in .grad" else rough)  # fmt: skip
    if how == "a loss":
        model.zero_grad()
    es.backward()
    expected = estimate_gradient(
        of_vector(other, squares(other)), vector(model.parameters()), surrogate, alpha=0.3,
        random_state=5, common_random_numbers="pair",
    )  # fmt: skip
    assert bits(vector(p.grad for p in model.parameters())) == bits(expected)


def test_estimates_follow_one_another():
    """Each has noise of its own, which depends on the seed and on how many came before."""
    models = [network(), network()]
    rows = []
    for model in models:
        es = ESGradient(model, squares(model), random_state=1)
        rows.append([])
        for _ in range(3):
            model.zero_grad()
            es.backward()
            rows[-1].append(vector(p.grad for p in model.parameters()))
        assert es.n_estimates == 3
    assert bits(rows[0]) == bits(rows[1])
    assert not np.array_equal(rows[0][0], rows[0][1])


@pytest.mark.parametrize("alpha", [0.5, "auto"])
def test_estimates_learn_what_the_guide_is_worth(alpha):
    """They are those of a search whose center does not move."""
    model, other = network(), network()
    es = ESGradient(
        model, squares(model), guide=lambda: model(X).sum(), alpha=alpha, random_state=3
    )
    x = vector(model.parameters())
    model(X).sum().backward()
    surrogate = vector(p.grad for p in model.parameters())
    search = GuidedES(alpha=alpha, optimizer="sgd", learning_rate=1e-30, sigma=0.1, random_state=3)
    search.start(x)
    f = of_vector(other, squares(other))
    for _ in range(4):
        model.zero_grad()
        es.backward()
        points = search.ask(surrogate)
        search.tell(points, [f(p.copy()) for p in points])
        assert bits(search.x_) == bits(x)
        assert bits(vector(p.grad for p in model.parameters())) == bits(search.gradient_)


def test_gradients_add_up_as_those_of_backward():
    """Into what is there; a guide that was there is replaced."""
    model = network()
    es = ESGradient(model, squares(model), random_state=1)
    es.backward()
    first = vector(p.grad for p in model.parameters())
    es.backward()
    both = vector(p.grad for p in model.parameters())
    model.zero_grad()
    es = ESGradient(model, squares(model), random_state=1)
    es.backward()
    model.zero_grad()
    es.backward()
    assert bits(first + vector(p.grad for p in model.parameters())) == bits(both)


class Trouble(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize("fails", [None, 0, 5, "guide"])
def test_all_is_put_back(fails):
    """Parameters, buffers, generators, gradients: bit for bit, whatever is raised."""
    model = network(torch.nn.BatchNorm1d(2), torch.nn.Dropout(0.5))
    with torch.no_grad():
        model[0].bias[0] = -0.0
    model(X)
    model.zero_grad()
    calls = []

    def loss():
        model[1].extra = model[1].running_mean + 1
        calls.append(len(calls))
        value = squares(model)()
        model[1].running_mean = torch.full((2,), torch.nan)  # another tensor in its place
        if calls[-1] == fails:
            raise Trouble
        return value

    def guide():
        value = squares(model)()
        if fails == "guide":
            raise Trouble
        return value

    buffers, before = [*model.buffers()], held(model)
    es = ESGradient(model, loss, random_state=1, guide=guide)
    if fails is None:
        es.backward()
        assert held(model)[::2] == before[::2]
        assert all(p.grad is not None for p in model.parameters())
    else:
        with pytest.raises(Trouble):
            es.backward()
        assert held(model) == before
        assert es.n_estimates == 0
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))


def test_a_graph_that_is_there_stays_valid():
    """Parameters are what they were, so a backward begun before is that."""
    model = network()
    loss, expected = squares(model)(), network()
    ESGradient(model, squares(model), random_state=1).backward()
    model.zero_grad()
    loss.backward()
    squares(expected)().backward()
    for p, q in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_without_a_graph():
    """Losses are evaluated without one, guides with one."""
    model, seen = network(), []

    def loss():
        seen.append(torch.is_grad_enabled())
        return squares(model)()

    es = ESGradient(model, loss, n_pairs=2, guide=loss)
    es.backward()
    with torch.no_grad():
        es.backward()
    assert seen == ([True] + [False] * 4) * 2


@pytest.mark.parametrize(("shared", "n_seeds"), [("pair", 3), ("generation", 1), (None, 6)])
def test_both_points_of_a_pair_have_the_same_seed(shared, n_seeds):
    """They draw the same numbers, and each pair its own, if not told otherwise."""
    model, drawn = network(), []

    def loss():
        drawn.append(float(torch.rand(())))
        return squares(model)()

    es = ESGradient(model, loss, n_pairs=3, common_random_numbers=shared, random_state=0)
    es.backward()
    assert len(set(drawn)) == n_seeds
    if shared == "pair":
        assert drawn[::2] == drawn[1::2]
    es.backward()
    assert len(set(drawn)) == 2 * n_seeds


def test_what_requires_no_gradient_is_left_alone():
    """Frozen parameters are never written to; the others make the vector."""
    model = network()
    model[0].requires_grad_(False)
    frozen = [(p.data_ptr(), p._version, bits(p.numpy())) for p in model[0].parameters()]
    seen = []

    def loss():
        seen.append([bits(p.numpy().copy()) for p in model[0].parameters()])
        return squares(model)()

    es = ESGradient(model, loss, random_state=0)
    es.backward()
    assert [(p.data_ptr(), p._version, bits(p.numpy())) for p in model[0].parameters()] == frozen
    assert all(found == [item[2] for item in frozen] for found in seen)
    assert model[0].weight.grad is None
    assert model[2].weight.grad is not None
    model[0].requires_grad_(True)
    with pytest.raises(ValueError, match=r"has 11 parameters of float32 that .* had 3"):
        es.backward()


def test_types_that_numpy_does_not_have():
    """bfloat16 is estimated in float32, and put back as it was."""
    model = network(dtype=torch.bfloat16)
    before = [p.detach().clone() for p in model.parameters()]
    es = ESGradient(model, lambda: squares(model)(X.bfloat16(), Y.bfloat16()), random_state=0)
    assert es.backward() > 0
    for p, q in zip(model.parameters(), before, strict=True):
        assert torch.equal(p, q)
        assert p.grad.dtype == torch.bfloat16


def test_in_this_process(monkeypatch):
    """Whatever joblib is told: workers would have modules of their own."""
    import joblib

    model, pids = network(), set()
    import threading

    def loss():
        pids.add(threading.get_ident())
        return squares(model)()

    with joblib.parallel_config("threading", n_jobs=2):
        ESGradient(model, loss).backward()
    assert pids == {threading.get_ident()}


def test_failures():
    """Pairs that fail are left out; more than half of them, and minus infinity, are errors."""
    model, count = network(), []

    def loss():
        count.append(0)
        return torch.tensor(torch.nan) if len(count) == 1 else squares(model)()

    before = held(model)
    ESGradient(model, loss, random_state=0).backward()
    for bad in (torch.nan, -torch.inf):
        with pytest.raises(RuntimeError, match=r"pairs of generation 0 failed|minus infinity"):
            ESGradient(model, lambda bad=bad: bad).backward()
    assert held(model)[0] == before[0]
    with torch.no_grad():
        model[0].weight[1, 2] = torch.nan
    with pytest.raises(ValueError, match=r"0\.weight\[1, 2\] is nan"):
        ESGradient(model, loss)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss_fn": None}, TypeError, "loss_fn=None is not callable"),
        ({"guide": False}, TypeError, "guide=False: expected None, True or a function"),
        ({"sigma": "auto"}, ValueError, "sigma='auto' is for searches"),
        ({"sigma": -1.0}, ValueError, "sigma"),
        ({"n_jobs": 2}, ValueError, "n_jobs: a module is evaluated here"),
        ({"bounds": [(0, 1)]}, ValueError, "bounds: a module is"),
        ({"n_guides": 2}, ValueError, "n_guides"),
        ({"module": torch.nn.Tanh()}, ValueError, "Tanh has no parameter that requires a gradient"),
    ],
)
def test_parameters_that_are_refused(options, error, message):
    """By name."""
    model = network()
    with pytest.raises(error, match=message):
        ESGradient(**{"module": model, "loss_fn": squares(model), **options})


def test_a_guide_that_is_not_there():
    """No gradient in any parameter is an error, not a zero."""
    model = network()
    with pytest.raises(ValueError, match="the guide has left no gradient"):
        ESGradient(model, squares(model), guide=True).backward()


@pytest.mark.parametrize("guided", [False, True])
def test_optimizers_of_torch_follow_it(guided):
    """Adam learns a number of errors, which has no gradient of its own."""
    torch.manual_seed(1)
    inputs = torch.randn(64, 5)
    labels = inputs @ torch.tensor([1.0, -2.0, 0.5, 0.0, 1.0]) > 0
    model = torch.nn.Linear(5, 1)

    def errors():
        return ((model(inputs)[:, 0] > 0) != labels).sum()

    def logistic():
        margin = model(inputs)[:, 0] * (2 * labels.float() - 1)
        return torch.nn.functional.softplus(-margin).mean()

    es = ESGradient(
        model, errors, guide=logistic if guided else None, sigma=0.2, shaping="standardized",
        random_state=0,
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        es.backward()
        optimizer.step()
    assert errors() <= 4


def test_docstrings():
    """The example in the docstring runs."""
    assert doctest.testmod(blackbox_es.torch).failed == 0


# -- tensors wherever arrays are -----------------------------------------------------------------


def bowl(x):
    """A quadratic of a tensor, which it must be."""
    assert isinstance(x, torch.Tensor)
    assert not x.requires_grad
    return ((x - 1) ** 2).sum()


def test_estimates_come_back_as_tensors():
    """Of the same dtype and shape, writable, with the bits of the array."""
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    g = estimate_gradient(bowl, x, torch.ones(1, 2, requires_grad=True), random_state=0)
    array = lambda x: float(((x - 1) ** 2).sum())  # noqa: E731
    expected = estimate_gradient(array, np.float32([1, 2]), np.float32([1, 1]), random_state=0)
    assert bits(g.numpy()) == bits(expected[None])
    g += 1


def test_a_search_of_tensors(tmp_path):
    """The objective is given tensors, results are; and so it is after a checkpoint."""
    x0 = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    result = minimize(bowl, x0, jac=lambda x: 2 * (x.requires_grad_() - 1),
                      options={"random_state": 0, "max_evals": 300})  # fmt: skip
    assert torch.allclose(result.x, torch.ones(3, dtype=torch.float64), atol=0.05)
    es = VanillaES(random_state=0, max_iter=3).start(x0)
    es.save(tmp_path / "search.npz")
    again = VanillaES.load(tmp_path / "search.npz").fit(bowl, resume=True)
    expected = VanillaES(random_state=0, max_iter=3)
    expected.fit(lambda x: ((x - 1) ** 2).sum(), np.zeros(3))
    assert bits(again.x_.numpy()) == bits(expected.x_)


def test_values_and_surrogates_with_a_graph():
    """Told as they come: a tensor of them, a list, one; a surrogate that requires a gradient."""
    es = GuidedES(n_pairs=2, random_state=0).start(np.zeros(3))
    surrogate = torch.ones(3, requires_grad=True) * 2
    for convert in (lambda values: values, list):
        points = es.ask(surrogate)
        scale = torch.ones((), requires_grad=True)
        es.tell(points, convert(scale * torch.from_numpy(points.copy()).sum(1)))
    for trial in es.ask_trials(surrogate):
        es.tell_trial(trial.id, torch.ones(1, requires_grad=True))
    assert es.n_iter_ == 3
    assert es.fun_ == 1.0


def test_a_state_dict_is_a_tree():
    """Parameters by name; the objective calls the module with them."""
    model = network()
    x0 = dict(model.named_parameters())

    def loss(p):
        return ((torch.func.functional_call(model, p, X) - Y) ** 2).mean()

    es = VanillaES(random_state=0, max_iter=3).fit(loss, x0)
    assert [*es.x_] == [*x0]
    assert all(es.x_[name].shape == p.shape for name, p in x0.items())
    rows = VanillaES(random_state=0, max_iter=3, vectorized=True)
    rows.fit(lambda p: torch.vmap(loss)(p), x0)
    for name in x0:
        assert torch.allclose(rows.x_[name], es.x_[name], atol=1e-5)


@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        (torch.arange(3), TypeError, "x0 at w is of int64: expected one of float16"),
        (torch.ones(2, dtype=torch.bfloat16), TypeError, "x0 at w is of bfloat16"),
        (torch.ones(2, device="meta"), ValueError, "x0 at w is on meta"),
        (torch.tensor([1.0, torch.nan]), ValueError, r"x0 at w\[1\] is nan"),
    ],
)
def test_tensors_that_are_refused(leaf, error, message):
    """By their path."""
    with pytest.raises(error, match=message):
        planted({"w": leaf})
