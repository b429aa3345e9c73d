"""Two-layer ReLU networks that recover planted neurons: convex programs and gradient training."""
