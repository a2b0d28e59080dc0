"""Pure rendering: the children's manifests as plain dicts."""
