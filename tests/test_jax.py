"""Arrays of JAX: points, surrogates and results, one by one or a generation at a time."""

import numpy as np
import pytest

from blackbox_es import GuidedES, VanillaES, estimate_gradient, minimize

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.jax
jnp = jax.numpy

START = {"b": jnp.ones(2), "a": {"w": jnp.arange(6.0).reshape(2, 3)}}


def loss(p):
    """A bowl with its minimum at 1."""
    return jnp.sum((p["b"] - 1) ** 2) + jnp.sum((p["a"]["w"] - 1) ** 2)


def leaves(tree):
    """What is at the leaves, by path."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in
            jax.tree_util.tree_leaves_with_path(tree)}  # fmt: skip


def assert_close(tree, other, atol=1e-5):
    """The same structure, arrays of JAX of the same dtype, and about the same numbers."""
    assert jax.tree_util.tree_structure(tree) == jax.tree_util.tree_structure(other)
    for path, leaf in leaves(tree).items():
        assert isinstance(leaf, jax.Array), path
        assert leaf.dtype == leaves(other)[path].dtype
        np.testing.assert_allclose(leaf, leaves(other)[path], atol=atol)


def test_a_generation_in_one_call():
    """`jax.vmap` of the objective gives the search of the objective; grad is a guide."""
    one = GuidedES(max_iter=5, random_state=0).fit(jax.jit(loss), START, jax.grad(loss))
    rows = GuidedES(max_iter=5, random_state=0, vectorized=True)
    rows.fit(jax.jit(jax.vmap(loss)), START, jax.jit(jax.grad(loss)))
    assert_close(rows.x_, one.x_)
    assert_close(rows.gradient_, START, atol=1e9)


def test_the_order_of_keys_does_not_matter():
    """JAX returns dicts sorted; surrogates are matched by key."""
    surrogate = jax.grad(loss)(START)
    assert [*surrogate] != [*START]
    es = GuidedES(n_pairs=4, random_state=0).start(START)
    (points, again) = es.ask(surrogate), GuidedES(n_pairs=4, random_state=0).start(START)
    for x, y in zip(points, again.ask({key: surrogate[key] for key in START}), strict=True):
        assert_close(x, y, atol=0.0)


def test_seeds():
    """An integer for `jax.random.key`, the same for the points of a generation."""
    seen = []

    @jax.jit
    def noisy(points, seed):
        return jax.vmap(loss)(points) + jax.random.normal(jax.random.key(seed))

    def objective(points, seed):
        seen.append(seed)
        return noisy(points, seed)

    es = VanillaES(vectorized=True, max_iter=3, random_state=0, sigma=0.01)
    es.fit(objective, START)
    assert len(set(seen[:3])) == 3
    quiet = VanillaES(vectorized=True, max_iter=3, random_state=0, sigma=0.01)
    quiet.fit(jax.jit(jax.vmap(loss)), START)
    assert_close(es.x_, quiet.x_, atol=1e-3)


def test_arrays_come_back_as_arrays():
    """One array is a tree of one leaf; estimates and results are as it was."""
    x0 = jnp.full((2, 2), 3.0)
    g = estimate_gradient(lambda x: (x.at[0, 0].get() - 1) ** 2, x0, n_pairs=200, random_state=0)
    assert isinstance(g, jax.Array)
    assert g.shape == (2, 2)
    assert abs(g[0, 0] - 4) < 1
    result = minimize(jax.jit(lambda x: ((x - 1) ** 2).sum()), x0, options={"max_evals": 300})
    assert isinstance(result.x, jax.Array)
    np.testing.assert_allclose(result.x, 1.0, atol=0.05)


def test_integers_are_refused():
    """By their path."""
    with pytest.raises(TypeError, match=r"x0 at a\.n is of int32"):
        VanillaES().start({"a": {"n": jnp.arange(3)}})
    with pytest.raises(TypeError, match=r"x0 at a is Array.*bfloat16"):
        VanillaES().start({"a": jnp.ones(3, jnp.bfloat16)})
