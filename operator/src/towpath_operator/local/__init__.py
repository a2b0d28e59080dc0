"""`towpath dev`: the operator's own reconcile on this machine, over manifests in files."""
