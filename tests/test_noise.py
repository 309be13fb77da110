"""Noise: its bits are those of the reference, and any part is that part of the whole."""

import hashlib

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es import _jit, noise

few = settings(deadline=None, max_examples=30, derandomize=True)
needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")

seeds = st.integers(0, 2**64 - 1)
words = st.integers(0, 2**32 - 1)
keys = st.tuples(seeds, words)
pair_ranges = st.tuples(st.integers(0, 2**32 - 4), st.integers(0, 3)).map(lambda r: (r[0], sum(r)))
sizes = st.one_of(
    st.integers(1, 200),
    st.integers(-1, 1).map(lambda i: noise.TILE + i),
    st.integers(-1, 1).map(lambda i: 2 * noise.TILE + i),
)


def standard_normals(seed, shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_words_are_those_published_with_random123(counter, key, expected):
    counter, key, expected = (
        tuple(int(word, 16) for word in text.split()) for text in (counter, key, expected)
    )
    assert noise.words(counter, key[0] + (key[1] << 32)) == expected
    assert reference.philox(counter, key) == expected


@few
@given(counter=st.tuples(words, words, words, words), seed=seeds)
def test_words_equal_the_reference(counter, seed):
    assert noise.words(counter, seed) == reference.philox(counter, reference.key_words(seed))


@few
@given(key=keys, pairs=pair_ranges, start=st.integers(0, 10**9), size=st.integers(0, 150),
       stream=st.sampled_from([noise.FULL_SPACE, noise.SUBSPACE]))  # fmt: skip
def test_normals_equal_the_reference_to_six_ulps(key, pairs, start, size, stream):
    coordinates = (start, start + size)
    z = noise.normals(key, pairs, coordinates, stream=stream)
    expected = reference.normals(key, pairs, coordinates, int(stream))
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, expected, rtol=6 * 2.0**-23)


@needs_numba
def test_every_word_gives_a_finite_normal_and_an_accurate_one():
    """All 2^24 radii; accuracy at the 2^14 smallest and largest and a million between them."""
    import numba

    @numba.njit
    def fill(out, words, angles):
        for i in range(words.size):
            out[0, i], out[1, i] = noise._box_muller(words[i], angles[i])

    every = np.arange(2**24, dtype=np.uint32)
    z = np.empty((2, every.size), np.float32)
    fill(z, every << 8, every * np.uint32(2654435761))  # all angles, in a scattered order
    assert np.abs(z).max() <= 5.9
    chosen = np.r_[: 2**14, 2**14 : 2**24 - 2**14 : 16, 2**24 - 2**14 : 2**24].astype(np.uint32)
    for word, angle in [(chosen << 8, chosen * np.uint32(2654435761)), (chosen, chosen << 8)]:
        out = np.empty((2, chosen.size), np.float32)
        fill(out, word, angle)
        expected = reference.box_muller(word.astype(np.int64), angle.astype(np.int64))
        np.testing.assert_allclose(out, expected, rtol=6 * 2.0**-23)


@few
@given(key=keys, pairs=pair_ranges, size=st.integers(0, 300),
       dtype=st.sampled_from(["f4", "f8"]))  # fmt: skip
def test_signs_equal_the_reference(key, pairs, size, dtype):
    found = noise.signs(key, pairs, size, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, reference.signs(key, pairs, size))


@few
@given(key=keys, pairs=pair_ranges, size=st.integers(0, 100))
def test_sign_words_are_the_signs(key, pairs, size):
    """32 to a word, lowest bit first, and any number of words is the beginning of more."""
    found = noise.sign_words(key, pairs, size)
    assert found.dtype == np.uint32
    bits = (found[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    signs = noise.signs(key, pairs, 32 * size, np.int64)
    np.testing.assert_array_equal(2 * bits.astype(int).reshape(signs.shape) - 1, signs)


@few
@given(key=keys, pairs=pair_ranges, n=sizes, k=st.integers(0, 3), dtype=st.sampled_from("fd"),
       scaled=st.booleans())  # fmt: skip
def test_perturb_equals_center_plus_and_minus_dense_directions(key, pairs, n, k, dtype, scaled):
    """Bit for bit, additions in the order of the reference."""
    center, rows = standard_normals(1, n, dtype), standard_normals(2, (k, n), dtype)
    coefs = standard_normals(3, (pairs[1] - pairs[0], k), dtype)
    scales = standard_normals(7, n if scaled else 0, dtype)
    points = noise.perturb(center, 0.3, scales, coefs, rows, key, pairs)
    d = reference.directions(0.3, scales, noise.normals(key, pairs, (0, n)), coefs, rows)
    assert points.dtype == center.dtype
    np.testing.assert_array_equal(points, [center + d, center - d])


@few
@given(key=keys, n_pairs=st.integers(0, 9), n=sizes, k=st.integers(0, 3),
       dtype=st.sampled_from("fd"), scaled=st.booleans())  # fmt: skip
def test_combine_equals_the_weighted_sum_of_dense_directions(key, n_pairs, n, k, dtype, scaled):
    """Bit for bit: summed in float64, pairs in their order."""
    weights, coefs = standard_normals(4, n_pairs), standard_normals(5, k)
    rows = standard_normals(6, (k, n), dtype)
    scales = standard_normals(7, n if scaled else 0, dtype)
    found = noise.combine(weights, 0.3, scales, coefs, rows, key)
    z = noise.normals(key, (0, n_pairs), (0, n))
    assert found.dtype == rows.dtype
    np.testing.assert_array_equal(found, reference.combine(weights, 0.3, scales, z, coefs, rows))


@few
@given(key=keys, n_pairs=st.integers(0, 9), n=sizes)
def test_squares_equal_the_weighted_sum_of_dense_squares(key, n_pairs, n):
    """Bit for bit: in float64, pairs in their order."""
    weights, z = standard_normals(4, n_pairs), noise.normals(key, (0, n_pairs), (0, n))
    found = noise.squares(weights, n, key)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, reference.squares(weights, z))


@pytest.mark.parametrize("kernel", ["perturb", "combine", "squares"])
def test_a_signal_waits_for_no_more_than_a_few_coordinates(kernel, monkeypatch):
    """Kernels cannot be interrupted: a call makes so many normals, or one tile; same bits."""
    n, n_pairs = 9 * noise.TILE + 5, 3
    center, none = np.zeros(n), np.empty((0, n))
    made = {
        "perturb": lambda: noise.perturb(center, 0.3, center[:0], np.empty((n_pairs, 0)), none,
                                         (7, 1), (2, 2 + n_pairs)),
        "combine": lambda: noise.combine(np.ones(n_pairs), 0.3, center[:0], np.empty(0), none,
                                         (7, 1)),
        "squares": lambda: noise.squares(np.ones(n_pairs), n, (7, 1)),
    }[kernel]  # fmt: skip
    whole, calls, compiled = made(), [], getattr(noise, f"_{kernel}")

    def counted(*args):
        calls.append(args[-2:])
        return compiled(*args)

    monkeypatch.setattr(noise, f"_{kernel}", counted)
    for tiles, at_once in ((1, 1), (1, 4000), (2, 7000), (10, 2**24)):
        monkeypatch.setattr(noise, "_NORMALS_AT_ONCE", at_once)
        calls.clear()
        np.testing.assert_array_equal(made(), whole)
        size = tiles * noise.TILE
        assert calls == [(start, min(start + size, n)) for start in range(0, n, size)]


@few
@given(key=keys, data=st.data())
def test_any_part_asked_for_alone_equals_that_part_of_the_whole(key, data):
    a, b = sorted(data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6))))
    c, d = sorted(data.draw(st.tuples(st.integers(0, 1100), st.integers(0, 1100))))
    whole = noise.normals(key, (0, 6), (0, 1100))
    np.testing.assert_array_equal(noise.normals(key, (a, b), (c, d)), whole[a:b, c:d])
    signs = noise.signs(key, (0, 6), 1100, "f4")
    np.testing.assert_array_equal(noise.signs(key, (a, b), d, "f4"), signs[a:b, :d])
    center, none = np.zeros(d, np.float32), np.empty((0, d), np.float32)
    ones, coefs = np.empty(0, np.float32), np.empty((b - a, 0), np.float32)
    points = noise.perturb(center, 1.0, ones, coefs, none, key, (a, b))
    np.testing.assert_array_equal(points[0], whole[a:b, :d])


def test_seed_generation_pair_and_stream_all_matter():
    """No two of 5 x 4 x 4 x 5 vectors of four words agree in any word but by chance (< 1e-3)."""
    streams = (noise.FULL_SPACE, noise.SUBSPACE, noise.SIGNS, noise.OBJECTIVE, noise.EXAMPLES)
    found = [
        noise.words((0, pair, generation, int(stream)), seed)
        for seed in (0, 1, 2**32, 2**32 + 1, 2**63)
        for generation in (0, 1, 2, 2**31)
        for pair in (0, 1, 2, 2**31)
        for stream in streams
    ]
    assert len(set(map(int, streams))) == 5
    assert len(np.unique(found)) == 4 * len(found)


@few
@given(key=keys, pair=words, stream=st.sampled_from([noise.OBJECTIVE, noise.EXAMPLES]))
def test_integer_is_the_first_word_of_its_counter(key, pair, stream):
    value = noise.integer(key, pair, stream)
    counter = (0, pair, key[1], int(stream))
    assert type(value) is int
    assert value == reference.philox(counter, reference.key_words(key[0]))[0]
    assert 0 <= value < 2**32


def test_bits_are_frozen():
    """A published result can be run again: these digests change on purpose or not at all."""
    z = noise.normals((2**40 + 7, 3), (5, 9), (11, 1011)).astype("<f4")
    s = noise.signs((2**40 + 7, 3), (5, 9), 1011, "<f4")
    digests = [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in (z, s)]
    assert digests == ["ae4ed1fa1579b598", "68d84e31224a5fc6"]
