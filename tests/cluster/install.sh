#!/bin/sh
# Installs the Debian packages whose commands the single node, and the tests of a pooler, need and this
# machine lacks.
# With nothing missing it runs no package manager, so it needs neither root nor Debian then.
set -eu

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
missing=
while read -r command package; do
    case "$command" in
        /*) [ -e "$command" ] && continue ;;
        *) command -v "$command" >/dev/null && continue ;;
    esac
    missing="$missing $package"
done <<LIST
containerd containerd
ctr containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
buildah buildah
mmdebstrap mmdebstrap
iptables iptables
conntrack conntrack
ip iproute2
unshare util-linux
setpriv util-linux
openssl openssl
pgbouncer pgbouncer
LIST

[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "missing, and there is no apt-get to install it:$missing" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "missing; as root, run: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The list is words on purpose.
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing
