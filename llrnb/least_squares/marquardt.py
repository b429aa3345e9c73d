"""The loops, compiled: eight Levenberg-Marquardt searches side by side in the lanes of a core.

Lanes never mix, so a start's result is the same, to the last bit, whatever else is in the call.
Arrays have the lanes as their last axis; a flat first axis holds the rest, as its name says.
"""

import numpy as np
from numba import njit

from llrnb.caching import compiled
from llrnb.training.lanes import WIDTH, fill, fma, load, store, tanh

# What `search` writes as a start's state.
DROPPED, CONVERGED, STALLED, UNBOUNDED, LIMIT = 0, 1, 2, 3, 4

_DAMPING = 1e-2  # of a fresh start, relative to the mean of the squared columns
_LEAST, _MOST = 1e-15, 1e15  # damping, relative to the same
# A start is hopeless if so many evaluations have not brought its cost down by this factor.
_PATIENCE, _PROGRESS = 10, 0.8


@compiled(nogil=True, error_model="numpy")
def search(
    starts, first, stride, last, until_first, x, y, seen, shared, goal, bounds, limit,
    found, cost, evaluations, state,
):  # fmt: skip
    """Minimise the sum of squares from the starts first, first + stride, ... of (start, param).

    x (input, sample) and y (sample) are common to all; seen (window, entry) numbers the inputs of a
    window. A row of params is w (row * entry), a (kernel * window) and, if there is one more, c.
    A start stops when its sum of squares is at most `goal`, when a param exceeds its bound, when
    the sum falls too slowly, and after `limit` evaluations. Starts after `last` (1) are dropped;
    if `until_first`, it is lowered to each start that has converged. Writes the params found
    (start, param), and the cost, the evaluations and the state of each start.
    """
    count, size = starts.shape
    samples = y.shape[0]
    windows, entries = seen.shape
    # size = rows * entries + kernels * windows (+ 1), where rows is kernels (* windows).
    per_kernel = windows + (entries if shared else windows * entries)
    kernels = size // per_kernel
    output_bias = size - kernels * per_kernel
    neurons = kernels * windows
    weights = size - output_bias - neurons

    theta, trial = np.zeros((size, WIDTH)), np.zeros((size, WIDTH))
    tangent = np.ones((size * samples, WIDTH))
    active = tangent[weights * samples : (weights + neurons) * samples]
    tried = np.zeros((neurons * samples, WIDTH))
    error, missed = np.zeros((samples, WIDTH)), np.zeros((samples, WIDTH))
    matrix = np.zeros((size * (size + 1) // 2, WIDTH))
    gradient = np.zeros((size, WIDTH))
    step, scratch = np.zeros((size, WIDTH)), np.zeros((size, WIDTH))
    total, scale = np.zeros((1, WIDTH)), np.zeros((1, WIDTH))
    damping, promised = np.ones((1, WIDTH)), np.zeros((1, WIDTH))
    now, before = np.full(WIDTH, np.inf), np.full(WIDTH, np.inf)
    growth, relative = np.full(WIDTH, 2.0), np.full(WIDTH, _DAMPING)
    made, start = np.zeros(WIDTH, np.int64), np.full(WIDTH, -1)
    taken = np.zeros(WIDTH, np.bool_)

    following = first
    while True:
        busy = 0
        for lane in range(WIDTH):
            if start[lane] > last[0]:
                start[lane] = -1  # its state stays DROPPED
            if start[lane] < 0 and following < count and following <= last[0]:
                start[lane] = following
                following += stride
                made[lane], now[lane], before[lane] = 0, np.inf, np.inf
                growth[lane], relative[lane] = 2.0, _DAMPING
                for i in range(size):
                    trial[i, lane] = starts[start[lane], i]
            busy += start[lane] >= 0
        if not busy:
            return

        _evaluate(trial, x, y, seen, shared, output_bias, tried, missed, total)
        _judge(total, promised, made, now, relative, growth, taken)
        _adopt(taken, trial, theta)
        _adopt(taken, tried, active)
        _adopt(taken, missed, error)
        for lane in range(WIDTH):
            if start[lane] < 0:
                continue
            outcome = _outcome(theta, bounds, goal, limit, made, now, before, relative, lane)
            if outcome != DROPPED:
                i = start[lane]
                found[i] = theta[:, lane]
                cost[i], evaluations[i], state[i] = now[lane], made[lane], outcome
                if outcome == CONVERGED and until_first:
                    last[0] = min(last[0], i)
                start[lane] = -1

        _differentiate(theta, x, seen, shared, active, tangent[: weights * samples])
        _normal_equations(tangent, error, matrix, gradient, scale)
        for lane in range(WIDTH):
            mean = scale[0, lane] if scale[0, lane] > 0 else 1.0
            damping[0, lane] = relative[lane] * mean
        _solve(matrix, damping, gradient, step, scratch)
        _propose(theta, step, gradient, damping, trial, promised)


@njit(error_model="numpy")
def _judge(total, promised, made, now, relative, growth, taken):
    """Take the trials that lower the sum of squares, and the first of a start in any case.

    The damping follows the gain over the gain promised (Nielsen 1999): well-promised gains lower it
    up to five times, a failure raises it, the next one by twice as much.
    """
    for lane in range(WIDTH):
        made[lane] += 1
        value = total[0, lane]
        taken[lane] = made[lane] == 1 or value < now[lane]
        if not taken[lane]:
            relative[lane] *= growth[lane]
            growth[lane] *= 2.0
            continue
        if made[lane] > 1:
            gain = (now[lane] - value) / promised[0, lane]
            relative[lane] = max(relative[lane] * max(0.2, 1 - (2 * gain - 1) ** 3), _LEAST)
            growth[lane] = 2.0
        now[lane] = value if value < np.inf else np.inf  # also for a NaN


@njit
def _outcome(theta, bounds, goal, limit, made, now, before, relative, lane):
    """Why a lane stops; DROPPED while it goes on."""
    for i in range(len(theta)):
        if not abs(theta[i, lane]) <= bounds[i]:
            return UNBOUNDED
    if now[lane] <= goal:
        return CONVERGED
    if now[lane] == np.inf or relative[lane] > _MOST:
        return STALLED
    if made[lane] % _PATIENCE == 0:
        if not now[lane] <= _PROGRESS * before[lane]:
            return STALLED
        before[lane] = now[lane]
    return LIMIT if made[lane] >= limit else DROPPED


@njit
def _propose(theta, step, gradient, damping, trial, promised):
    """The next trial, and the gain that the linearisation promises: step (lambda step + J^T e)."""
    lam, gain = load(damping, 0), fill(0.0)
    for i in range(len(theta)):
        d = load(step, i)
        gain = fma(d, fma(lam, d, load(gradient, i)), gain)
        store(trial, i, load(theta, i) - d)
    store(promised, 0, gain)


@njit(inline="always")
def _adopt(taken, new, old):
    """Copy the lanes that are taken."""
    for i in range(len(old)):
        for lane in range(WIDTH):
            old[i, lane] = new[i, lane] if taken[lane] else old[i, lane]


@njit(nogil=True)
def _evaluate(theta, x, y, seen, shared, output_bias, active, error, total):
    """The activations (kernel * window * sample), the errors and the sum of their squares."""
    (windows, entries), samples = seen.shape, len(y)
    neurons = len(active) // samples
    a = len(theta) - output_bias - neurons
    constant = load(theta, len(theta) - 1) if output_bias else fill(0.0)
    for s in range(samples):
        store(error, s, constant - fill(y[s]))
    for q in range(neurons):
        p = q % windows
        row = (q // windows if shared else q) * entries
        outward = load(theta, a + q)
        for s in range(samples):
            u = load(theta, row) * fill(x[seen[p, 0], s])
            for j in range(1, entries):
                u = fma(load(theta, row + j), fill(x[seen[p, j], s]), u)
            t = tanh(u)
            store(active, q * samples + s, t)
            store(error, s, fma(outward, t, load(error, s)))
    square = fill(0.0)
    for s in range(samples):
        square = fma(load(error, s), load(error, s), square)
    store(total, 0, square)


@njit(nogil=True)
def _differentiate(theta, x, seen, shared, active, slope):
    """The derivatives (row * entry * sample) by the input weights, a (1 - t^2) x, summed."""
    (windows, entries), samples = seen.shape, x.shape[1]
    neurons = len(active) // samples
    a = len(slope) // samples
    for q in range(neurons):
        p = q % windows
        row = (q // windows if shared else q) * entries
        outward = load(theta, a + q)
        for s in range(samples):
            t = load(active, q * samples + s)
            v = outward * fma(fill(0.0) - t, t, fill(1.0))
            for j in range(entries):
                at = (row + j) * samples + s
                if shared and p:
                    store(slope, at, fma(v, fill(x[seen[p, j], s]), load(slope, at)))
                else:
                    store(slope, at, v * fill(x[seen[p, j], s]))


@njit(nogil=True)
def _normal_equations(tangent, error, matrix, gradient, scale):
    """J^T J, its lower triangle row by row, J^T e, and the mean of the diagonal.

    Two columns by two, so that a core always has independent work.
    """
    size, samples = len(gradient), len(error)
    trace = fill(0.0)
    for i in range(0, size, 2):
        below = min(i + 1, size - 1)
        first, second = i * samples, below * samples
        r, s = i * (i + 1) // 2, below * (below + 1) // 2
        e0, e1 = fill(0.0), fill(0.0)
        for n in range(samples):
            e = load(error, n)
            e0, e1 = fma(load(tangent, first + n), e, e0), fma(load(tangent, second + n), e, e1)
        store(gradient, i, e0)
        store(gradient, below, e1)
        for j in range(0, i + 1, 2):
            third, fourth = j * samples, min(j + 1, size - 1) * samples
            p, q, u, v = fill(0.0), fill(0.0), fill(0.0), fill(0.0)
            for n in range(samples):
                a, b = load(tangent, first + n), load(tangent, second + n)
                c, d = load(tangent, third + n), load(tangent, fourth + n)
                p, q, u, v = fma(a, c, p), fma(a, d, q), fma(b, c, u), fma(b, d, v)
            store(matrix, r + j, p)
            if j < i:
                store(matrix, r + j + 1, q)
            if below > i:
                store(matrix, s + j, u)
                store(matrix, s + j + 1, v)
            if j == i:
                trace = trace + p + (v if below > i else fill(0.0))
    store(scale, 0, trace / fill(float(size)))


@njit(nogil=True)
def _solve(matrix, damping, gradient, step, scratch):
    """The step of (J^T J + damping) step = J^T e, by the factorisation L D L^T in place."""
    size = len(gradient)
    lam = load(damping, 0)
    for j in range(size):
        row = j * (j + 1) // 2
        pivot = load(matrix, row + j) + lam
        right = load(gradient, j)
        for k in range(j):
            entry = load(matrix, row + k)
            weighted = entry * load(matrix, k * (k + 3) // 2)
            store(scratch, k, weighted)
            pivot = fma(fill(0.0) - entry, weighted, pivot)
            right = fma(fill(0.0) - entry, load(step, k), right)
        store(matrix, row + j, pivot)
        store(step, j, right)
        inverse = fill(1.0) / pivot
        i = j + 1
        while i + 3 < size:
            at0 = i * (i + 1) // 2
            at1 = at0 + i + 1
            at2 = at1 + i + 2
            at3 = at2 + i + 3
            s0, s1 = load(matrix, at0 + j), load(matrix, at1 + j)
            s2, s3 = load(matrix, at2 + j), load(matrix, at3 + j)
            for k in range(j):
                weighted = fill(0.0) - load(scratch, k)
                s0 = fma(load(matrix, at0 + k), weighted, s0)
                s1 = fma(load(matrix, at1 + k), weighted, s1)
                s2 = fma(load(matrix, at2 + k), weighted, s2)
                s3 = fma(load(matrix, at3 + k), weighted, s3)
            store(matrix, at0 + j, s0 * inverse)
            store(matrix, at1 + j, s1 * inverse)
            store(matrix, at2 + j, s2 * inverse)
            store(matrix, at3 + j, s3 * inverse)
            i += 4
        while i < size:
            at = i * (i + 1) // 2
            s0 = load(matrix, at + j)
            for k in range(j):
                s0 = fma(fill(0.0) - load(matrix, at + k), load(scratch, k), s0)
            store(matrix, at + j, s0 * inverse)
            i += 1
    for j in range(size - 1, -1, -1):
        value = load(step, j) / load(matrix, j * (j + 3) // 2)
        for i in range(j + 1, size):
            value = fma(fill(0.0) - load(matrix, i * (i + 1) // 2 + j), load(step, i), value)
        store(step, j, value)
