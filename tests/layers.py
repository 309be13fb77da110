"""Networks of layers for the tests, and slow, obvious implementations to compare them with."""

import numpy as np

from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.layers import Activate, AvgPool2D, Conv2D, Dense, MaxPool2D, VectorQuantise
from blackbox_es.neural.sequential import Sequential

TANH = Activate("tanh")
POOLED = Conv2D(3, kernel=3), MaxPool2D(2), TANH, Conv2D(5), AvgPool2D(2), TANH
SMALL = Sequential((4, 8, 2), (*POOLED, Dense(4), TANH, Dense(3)))


def convolved(image, W, b, kernel):
    """At each pixel the square around it, zeros beyond the edges, times W plus b."""
    height, width, channels = image.shape
    r, out = kernel // 2, np.empty((height, width, len(b)))
    framed = np.zeros((height + 2 * r, width + 2 * r, channels))
    framed[r : r + height, r : r + width] = image
    for y in range(height):
        for x in range(width):
            out[y, x] = framed[y : y + kernel, x : x + kernel].ravel() @ W + b
    return out


def pooled(image, size, function):
    """A function of each square of each channel."""
    height, width, channels = image.shape
    out = np.empty((height // size, width // size, channels))
    for y in range(height // size):
        for x in range(width // size):
            for c in range(channels):
                square = image[y * size : (y + 1) * size, x * size : (x + 1) * size, c]
                out[y, x, c] = function(square)
    return out


def quantised(image, codes):
    """The nearest code of each group of channels."""
    groups = image.reshape(-1, codes.shape[1])
    nearest = [min(range(len(codes)), key=lambda k: ((z - codes[k]) ** 2).sum()) for z in groups]
    return codes[nearest].reshape(image.shape)


def passed(network, theta, x, moves=None):
    """What each layer makes of one example, in float64; moves[place] is added to what comes out."""
    coefs, intercepts = network.unpack(theta.astype(float))
    image, out, which = x.astype(float).reshape(network.image_shape), [], 0
    for place, layer in enumerate(network.layers):
        if isinstance(layer, (Conv2D, Dense, VectorQuantise)):
            W, b, which = coefs[which], intercepts[which], which + 1
            if isinstance(layer, VectorQuantise):
                image = quantised(image, W + b)
            elif isinstance(layer, Dense):
                image = (image.ravel() @ W + b)[None, None]
            else:
                image = convolved(image, W, b, layer.kernel)
        elif isinstance(layer, MaxPool2D):
            image = pooled(image, layer.size, np.max)
        elif isinstance(layer, AvgPool2D):
            image = pooled(image, layer.size, np.mean)
        else:
            image = ACTIVATIONS[layer.activation].function(image)
        if moves and place in moves:
            image = image + moves[place].reshape(image.shape)
        out.append(image)
    return out


def outputs(network, theta, X, moves=None):
    """Raw outputs of each example."""
    return np.array([passed(network, theta, x, moves)[-1].ravel() for x in X])
