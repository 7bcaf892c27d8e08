#!/bin/bash
# The namespaces that a test cluster's nodes live in. Everything a node leaves in the kernel (bridges, iptables
# chains, mounts, containers) belongs to them and goes when their first process goes.
#
#   machine.sh hold GROUP READY        become the first process of new namespaces; writes READY
#   machine.sh enter GROUP PID CMD...  run CMD inside them
#   machine.sh clean GROUP             remove what is left of the control groups
set -eu

hierarchies() { # mount point of every version 1 hierarchy; none on a host with version 2 only
    awk '$3 == "cgroup" { print $2 }' /proc/mounts | sort -u
}

join() { # control groups below GROUP, so that container groups are found and removed together
    for root in $(hierarchies); do
        mkdir -p "$root/$1"
        for file in cpuset.cpus cpuset.mems; do # a new cpuset is empty and takes no process
            [ ! -e "$root/$file" ] || cat "$root/$file" > "$root/$1/$file"
        done
        echo $$ > "$root/$1/cgroup.procs"
    done
}

inside() {
    mount --make-rprivate /
    controllers=$(for root in $(hierarchies); do basename "$root"; done)
    if [ -n "$controllers" ]; then
        mount -t tmpfs none /sys/fs/cgroup
        for one in $controllers; do
            mkdir "/sys/fs/cgroup/$one"
            options=$one
            [ "$one" != systemd ] || options=none,name=systemd
            mount -t cgroup -o "$options" none "/sys/fs/cgroup/$one"
        done
    fi
    mount -t tmpfs none /run
    mount -t tmpfs none /var/log
    mkdir -p /run/var-lib/upper /run/var-lib/work
    mount -t overlay -o lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work none /var/lib
    ip link set lo up
    echo 1 > /proc/sys/net/ipv4/ip_forward
    [ ! -e /proc/sys/net/bridge ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
    touch "$1"
    while true; do # the first process of a process namespace has to reap what others leave
        sleep 3600 &
        wait $! || true
    done
}

command=$1
shift
case $command in
    hold)
        join "$1"
        exec unshare --cgroup --mount --net --pid --uts --ipc --fork --kill-child=KILL --mount-proc \
            "$0" inside "$2"
        ;;
    inside) inside "$1" ;;
    enter)
        join "$1"
        pid=$2
        shift 2
        exec nsenter --target "$pid" --cgroup --mount --net --pid --uts --ipc -- setpriv --pdeathsig KILL -- "$@"
        ;;
    clean)
        for root in $(hierarchies); do
            [ ! -d "$root/$1" ] || find "$root/$1" -depth -type d -exec rmdir {} +
        done
        ;;
    *)
        echo "unknown command $command" >&2
        exit 2
        ;;
esac
