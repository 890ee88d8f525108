# Sourced by the boot tests after architectures.sh: boots a Debian with systemd in a container.
# `unit` is the tested service, `scratch` a temporary folder. The processes in `started` are killed
# at the end.

bare=${WAYPOST_BOOT_ROOT:-/var/cache/waypost-boot}
# Includes the packages of a usual Debian on a gateway, so that the README's commands run unchanged.
[ -x "$bare/usr/bin/sudo" ] || { rm -rf "$bare"; debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,sudo,ca-certificates bookworm "$bare" >/dev/null; }

scratch=$(mktemp -d) started=()
cleanup() {
    local code=$?
    [ $code = 0 ] || { inside journalctl --no-pager -n 40 -u "$unit" || true; } >&2
    [ -z "${leader:-}" ] || kill -s RTMIN+4 "$leader" 2>/dev/null || true
    for pid in "${started[@]}"; do kill -CONT "$pid" 2>/dev/null && kill "$pid" || true; done
    sleep 3
    [ -z "${nspawn:-}" ] || kill -9 "$nspawn" 2>/dev/null || true
    rm -rf "$scratch"
}
trap cleanup EXIT

passed() { printf '  ok  %s\n' "$*"; }
fail() { printf 'FAIL  %s\n' "$*"; exit 1; }
inside() { nsenter -t "$leader" -m -u -i -n -p -- "$@"; }
show() { inside systemctl show -P "$1" "$unit"; }
ms() { echo $(($(date +%s%N) / 1000000)); }
# within SECONDS COMMAND...: repeats the command until it succeeds
within() {
    local until=$(($(ms) + $1 * 1000))
    shift
    until "$@" 2>/dev/null; do [ "$(ms)" -lt $until ] || return 1; sleep 0.1; done
}

# package NAME DEB: creates `root`, a Debian with /root/NAME.deb, and /root/newer.deb with a higher
# version.
package() {
    root=$scratch/root
    cp -a --reflink=auto "$bare" "$root"
    cp "$2" "$root/root/$1.deb"
    dpkg-deb -R "$2" "$scratch/newer"
    version=$(dpkg-deb -f "$2" Version)
    sed -i "s/^Version: .*/Version: $version+newer/" "$scratch/newer/DEBIAN/control"
    dpkg-deb -b "$scratch/newer" "$root/root/newer.deb" >/dev/null
}

power_on() {
    systemd-nspawn -q -D "$root" --register=no --keep-unit -b >"$scratch/boot.log" 2>&1 </dev/null & nspawn=$!
    within 30 pgrep -P $nspawn >/dev/null || { cat "$scratch/boot.log"; fail "the container does not start"; }
    leader=$(pgrep -P $nspawn | head -1)
}

comes_up() {
    within 60 inside systemctl is-system-running --wait >/dev/null || inside systemctl is-system-running | grep -q degraded \
        || { cat "$scratch/boot.log"; fail "systemd does not start"; }
    passed "systemd $(inside systemctl --version | head -1 | cut -d' ' -f2) is up"
}

# Whether the unit has another process than `pid` and is ready.
another() { local now; now=$(show MainPID); [ "$now" != "$pid" ] && [ "$now" != 0 ] && [ "$(show ActiveState)" = active ]; }
has_ended() { ! kill -0 "$nspawn"; }
runs() { [ "$(show ActiveState)" = active ]; }
