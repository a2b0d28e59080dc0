"""What the operator would do: its own reconcile, over ports that write nothing and remember."""
