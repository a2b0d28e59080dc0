"""What reconcile needs of the world, as protocols; `adapters/` holds who provides it."""
