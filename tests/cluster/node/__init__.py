"""A single Kubernetes node in namespaces of its own, made of binaries and Debian's containerd.

`start` works on the host: it prepares a folder, starts `init` as pid 1 of new namespaces, joins it
to the host by a veth pair and waits. `init` works inside: it mounts, starts the parts, and ends
everything when its starter has ended. What the parts store is in memory: about 2 GiB with the
project's images, beside 1 GiB for the parts themselves.
"""
