"""A model and data of one's own, for the tests of their sweep."""

from torch import nn


def build():
    return nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2))


class Layer(nn.Linear):
    def __init__(self):
        super().__init__(4, 2)


MADE = Layer()


def data(samples, stream):
    inputs = stream.standard_normal((samples, 4))
    return inputs, inputs[:, :2] ** 2


def labels(samples, stream):
    inputs = stream.standard_normal((samples, 4))
    return inputs, (inputs[:, 0] > 0).astype(int)


def alone(samples, stream):
    return stream.standard_normal((samples, 4))


def fewer(samples, stream):
    return data(samples - 1, stream)
