"""The loops, compiled: pivots without arithmetic, blocks, a rank modulo a prime; tangents."""

import numpy as np

from llrnb.caching import compiled


@compiled()
def peel(start, neighbours):
    """Remove leaves with their neighbours while there are any; how often, and what stays."""
    vertices = len(start) - 1
    degree = start[1:] - start[:-1]
    alive = degree > 0
    leaves = np.empty(vertices, dtype=np.int64)
    waiting = 0
    for v in range(vertices):
        if degree[v] == 1:
            leaves[waiting] = v
            waiting += 1
    pivots = 0
    while waiting:
        waiting -= 1
        leaf = leaves[waiting]
        if not alive[leaf] or degree[leaf] == 0:  # removed meanwhile, or its neighbour was
            continue
        partner = -1
        for v in neighbours[start[leaf] : start[leaf + 1]]:
            if alive[v]:
                partner = v
        pivots += 1
        alive[leaf] = alive[partner] = False
        for v in neighbours[start[partner] : start[partner + 1]]:
            degree[v] -= 1
            if alive[v] and degree[v] == 1:
                leaves[waiting] = v
                waiting += 1
    return pivots, alive


@compiled()
def components(start, neighbours, alive):
    """A number for every living vertex, the same within a connected component."""
    component = np.full(len(alive), -1, dtype=np.int64)
    reached = np.empty(len(alive), dtype=np.int64)
    for root in range(len(alive)):
        if alive[root] and component[root] < 0:
            component[root] = root
            reached[0] = root
            waiting = 1
            while waiting:
                waiting -= 1
                v = reached[waiting]
                for u in neighbours[start[v] : start[v + 1]]:
                    if alive[u] and component[u] < 0:
                        component[u] = root
                        reached[waiting] = u
                        waiting += 1
    return component


@compiled()
def rank_modulo(matrix, prime):
    """The rank modulo a prime below 2**31 of a matrix of residues, which is overwritten."""
    height, width = matrix.shape
    rank = 0
    for column in range(width):
        pivot = rank
        while pivot < height and matrix[pivot, column] == 0:
            pivot += 1
        if pivot == height:
            continue
        for j in range(column, width):
            matrix[rank, j], matrix[pivot, j] = matrix[pivot, j], matrix[rank, j]
        inverse, power, base = 1, prime - 2, matrix[rank, column]  # Fermat
        while power:
            if power & 1:
                inverse = inverse * base % prime
            base = base * base % prime
            power >>= 1
        for i in range(rank + 1, height):
            factor = (prime - matrix[i, column] * inverse % prime) % prime
            if factor:
                for j in range(column, width):
                    matrix[i, j] = (matrix[i, j] + factor * matrix[rank, j]) % prime
        rank += 1
        if rank == height:
            break
    return rank


@compiled()
def fill_tangent(tangent, at_w, at_b, at_a, activation, a, inputs, windows, shared):
    """Write the tangent matrix of a tanh network; its blocks begin at these columns.

    activation (sample, kernel, window) holds tanh(u); at_b is negative without biases.
    """
    samples, kernels, positions = activation.shape
    entries = windows.shape[1]
    rows = kernels if shared else kernels * positions
    seen = np.empty(entries)
    for i in range(samples):
        by_a = tangent[i, at_a : at_a + kernels * positions].reshape(kernels, positions)
        by_w = tangent[i, at_w : at_w + rows * entries].reshape(rows, entries)
        for p in range(positions):
            for e in range(entries):
                seen[e] = inputs[i, windows[p, e]]
            for k in range(kernels):
                t = activation[i, k, p]
                by_a[k, p] = t
                slope = a[k, p] * (1 - t * t)
                row = k if shared else k * positions + p
                if p == 0 or not shared:
                    for e in range(entries):
                        by_w[row, e] = slope * seen[e]
                    if at_b >= 0:
                        tangent[i, at_b + row] = slope
                else:
                    for e in range(entries):
                        by_w[row, e] += slope * seen[e]
                    if at_b >= 0:
                        tangent[i, at_b + row] += slope
