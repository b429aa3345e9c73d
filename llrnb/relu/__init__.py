"""ReLU networks as convex programs: planted neurons, activation patterns, recovery."""
