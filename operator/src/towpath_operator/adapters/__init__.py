"""Who provides the ports: the Kubernetes API, Postgres, local processes."""
