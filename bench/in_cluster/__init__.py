"""How quickly the operator acts, and what it costs at rest, on a real cluster."""
