"""Safe mutations: all parameters move the outputs alike, by differences and by backpropagation."""

import numpy as np
import pytest
from problems import X0, bits, bowl

from blackbox_es import Diagonal, GuidedES, VanillaES, safe_sigmas
from blackbox_es.neural.network import Network
from blackbox_es.testing.statistics import assert_mean

RNG = np.random.default_rng(0)
A = RNG.standard_normal((5, 4)) * [1e-2, 1.0, 30.0, 1e4]  # of outputs A @ theta


def recurrent(theta):
    """Ten states of a small recurrent network: weights of states count more than others."""
    W, u, h, found = theta[:9].reshape(3, 3), theta[9:12], np.zeros(3), []
    for x in np.sin(np.arange(10.0)):
        h = np.tanh(W @ h + u * x)
        found.append(h)
    return np.array(found)


def test_linear_outputs_change_alike():
    """``sigma_i |A_i|`` is one number, and the root mean square of the scales is sigma."""
    sigmas = safe_sigmas(lambda theta: A @ theta, np.ones(4), sigma=0.7, floor=0.0)
    moves = sigmas * np.linalg.norm(A, axis=0)
    np.testing.assert_allclose(moves, moves[0], rtol=1e-6)
    assert np.sqrt(np.square(sigmas).mean()) == pytest.approx(0.7)


def test_the_floor():
    """``1 / sqrt(s_i^2 + (floor s)^2)``, which a parameter without effect needs."""
    s = np.linalg.norm(A, axis=0)
    scales = 1 / np.sqrt(s**2 + 0.01 * np.mean(s**2))
    found = safe_sigmas(lambda theta: A @ theta, np.ones(4))
    np.testing.assert_allclose(found, scales * 0.1 / np.sqrt(np.mean(scales**2)), rtol=1e-6)
    found = safe_sigmas(lambda theta: theta[:1], np.ones(2))
    assert found[1] / found[0] == pytest.approx(np.sqrt((1 + 0.005) / 0.005))


def test_examples_do_not_cancel():
    """Squares are summed, over examples and outputs."""
    signs = np.array([1.0, -1.0, 2.0, -2.0])

    def outputs(theta):
        return np.stack([signs * theta[0], 0.0 * signs + theta[1]], axis=1)

    a, b = safe_sigmas(outputs, [0.3, 0.2], floor=0.0)
    assert b / a == pytest.approx(np.sqrt(2.5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backpropagation_and_differences_agree(dtype):
    """On a multilayer perceptron with two outputs."""
    network = Network((3, 4, 2), "tanh")
    theta = np.random.default_rng(1).standard_normal(network.n_parameters).astype(dtype)
    X = np.random.default_rng(2).standard_normal((6, 3))
    found = safe_sigmas(network, theta, X)
    assert found.dtype == dtype
    by_differences = safe_sigmas(lambda theta: network.forward(theta, X), theta.astype(float))
    np.testing.assert_allclose(found, by_differences, rtol=1e-4)


def test_safe_mutations_are_safer():
    """Of a recurrent network, at the same size: outputs change by less than half as much."""
    theta = np.random.default_rng(3).standard_normal(12) * np.repeat([1.0, 0.05], [9, 3])
    sigmas = safe_sigmas(recurrent, theta, sigma=0.1)
    z = np.random.default_rng(4).standard_normal((400, 12))
    plain, safe = (
        np.mean([np.square(recurrent(theta + d) - recurrent(theta)).mean() for d in z * scales])
        for scales in (0.1, sigmas)
    )
    assert safe < plain / 4  # of the squares


def test_estimates_along_the_scales():
    """``E[g_i] = beta sigma_i^2 / (n sigma^2) df / dx_i``, sigma being that of the strategy."""
    c, scales = np.array([1.0, -2.0, 3.0]), np.array([0.5, 1.0, 2.0])
    sampler, found = Diagonal(scales), []
    for seed in range(4000):
        es = VanillaES(sampler=sampler, beta=3.0, n_pairs=5, random_state=seed).start(np.zeros(3))
        X = es.ask()
        es.tell(X, X @ c)
        found.append(es.gradient_)
    expected = 3.0 * scales**2 / np.sum(scales**2) * c
    assert_mean(np.array(found).T, expected, detects=0.8)


def test_beta_has_the_least_error_on_average():
    """Over gradients of all directions: no other beta is better."""
    scales = np.geomspace(0.3, 3.0, 6)
    errors = {}
    for beta in ("auto", 2.0, 20.0):
        total = 0.0
        for seed in range(2000):
            c = np.random.default_rng(seed).standard_normal(6)
            es = VanillaES(sampler=Diagonal(scales), beta=beta, n_pairs=3, random_state=seed)
            X = es.start(np.zeros(6)).ask()
            es.tell(X, X @ c)
            total += np.square(es.gradient_ - c).sum()
        errors[beta] = total / 2000 / 6
    axes = Diagonal(scales).n_axes
    beta, trace = 3 / (4 / axes + 1), 1 / axes
    expected = 1 - 2 * beta / 6 + beta**2 * (trace + (1 + trace) / 3) / 6
    assert errors["auto"] == pytest.approx(expected, rel=0.05)
    assert errors["auto"] < min(errors[2.0], errors[20.0])
    assert Diagonal(np.full(6, 0.2)).n_axes == pytest.approx(6)


def test_equal_scales_are_isotropic_search(tmp_path):
    """Bit for bit; and what is saved goes on."""
    options = {"sigma": 0.5, "random_state": 0, "max_iter": 6, "beta": 2.0}
    es = VanillaES(sampler=Diagonal(np.ones(3)), **options).fit(bowl, X0)
    np.testing.assert_allclose(es.x_, VanillaES(**options).fit(bowl, X0).x_, rtol=1e-12)
    es = VanillaES(sampler=Diagonal(np.array([1.0, 2.0, 3.0])), **options)
    es.start(np.float32(X0)).save(tmp_path / "run.npz")
    loaded = VanillaES.load(tmp_path / "run.npz")
    for one in (es, loaded):
        while not one.stop_reason_:
            X = one.ask()
            one.tell(X, [bowl(x) for x in X])
    assert bits(loaded.x_) == bits(es.x_)
    assert es.x_.dtype == np.float32


def test_it_trains_where_parameters_differ_in_effect():
    """Inputs of different units: at the best of four rates each, a thousandth of the loss."""
    truth = np.array([100.0, 1.0, 0.03, 1e-4])
    target = A @ truth

    def loss(T):
        return np.square(T @ A.T - target).mean(axis=-1)

    def least(**options):
        found = []
        for rate in (0.1, 1.0, 10.0, 100.0):
            es = VanillaES(optimizer="sgd", learning_rate=rate, sigma=1e-3, max_iter=300,
                           vectorized=True, random_state=0, beta=1.0, **options)  # fmt: skip
            with np.errstate(all="ignore"):
                found.append(es.fit(lambda T: loss(T) * unit, np.zeros(4)).fun_ / unit)
        return np.nanmin(found)

    sigmas = safe_sigmas(lambda theta: A @ theta, np.zeros(4), floor=0.0)
    unit = 1.0 / np.trace(A * sigmas**2 @ A.T) * np.square(sigmas).sum()
    safe = least(sampler=Diagonal(sigmas))
    unit = 1.0 / np.trace(A @ A.T)
    assert safe < least() / 1000


def test_what_is_refused():
    """By name."""
    network = Network((3, 2), "tanh")
    for arguments, error, match in [
        ((3, [1.0]), TypeError, "outputs=3"),
        ((lambda theta: theta, [1.0], [[1.0]]), ValueError, "X is for networks"),
        ((network, np.ones(8)), ValueError, "X=None"),
        ((network, np.ones(8), np.ones((2, 2))), ValueError, r"X has shape \(2, 2\)"),
        ((lambda theta: np.nan, [1.0]), ValueError, "not finite"),
        ((lambda theta: 1.0, [1.0]), ValueError, "do not move"),
    ]:
        with pytest.raises(error, match=match):
            safe_sigmas(*arguments)
    for name, bad in [("sigma", 0.0), ("floor", -0.1), ("step", 0.0)]:
        with pytest.raises(ValueError, match=name):
            safe_sigmas(lambda theta: theta, [1.0], **{name: bad})
    for scales in ([1.0, 2.0], [1.0, 0.0, 1.0], [1.0, np.inf, 1.0]):
        with pytest.raises(ValueError, match="sampler"):
            VanillaES(sampler=Diagonal(np.array(scales))).start(X0)
    with pytest.raises(TypeError, match="sampler"):
        GuidedES(sampler=Diagonal(np.ones(3))).start(X0)
