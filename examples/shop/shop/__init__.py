"""The shop: a small application whose orders are durable workflows."""
