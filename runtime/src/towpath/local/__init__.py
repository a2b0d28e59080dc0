"""What `towpath dev` needs of this machine: an embedded Postgres and supervised processes."""
