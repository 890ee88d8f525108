# Sourced by the boot tests, behind architectures.sh: a Debian with real systemd in a container, and what is asked of it. `unit`
# is the service that is tried, `scratch` a folder that goes at the end, with the processes in `started`.

bare=${WAYPOST_BOOT_ROOT:-/var/cache/waypost-boot}
# With what every Debian on a gateway has: the README's commands are run as they stand there.
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
# within SECONDS COMMAND...: until it succeeds
within() {
    local until=$(($(ms) + $1 * 1000))
    shift
    until "$@" 2>/dev/null; do [ "$(ms)" -lt $until ] || return 1; sleep 0.1; done
}

# package NAME DEB: `root`, a Debian with /root/NAME.deb, and /root/newer.deb, the same under a higher version.
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
        || { cat "$scratch/boot.log"; fail "systemd does not come up"; }
    passed "systemd $(inside systemctl --version | head -1 | cut -d' ' -f2) is up"
}

# Another process of the unit than `pid`, and it is ready.
another() { local now; now=$(show MainPID); [ "$now" != "$pid" ] && [ "$now" != 0 ] && [ "$(show ActiveState)" = active ]; }
has_ended() { ! kill -0 "$nspawn"; }
runs() { [ "$(show ActiveState)" = active ]; }
