# Sourced by the scripts in this directory: installs and selects the toolchain of an architecture on
# Debian.

say() { printf 'packaging: %s\n' "$*" >&2; }

# install PACKAGE...: installs the missing Debian packages.
install() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    local sudo
    sudo=$( [ "$(id -u)" = 0 ] || echo sudo )
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# choose amd64|arm64|armhf: sets `target`, `for_target` (cargo's option, empty for the native
# target), `objdump`, and the environment of cargo and cc.
choose() {
    local prefix cross
    case $1 in
    amd64) target=x86_64-unknown-linux-gnu prefix=x86_64-linux-gnu cross=amd64 ;;
    arm64) target=aarch64-unknown-linux-gnu prefix=aarch64-linux-gnu cross=arm64 ;;
    armhf) target=armv7-unknown-linux-gnueabihf prefix=arm-linux-gnueabihf cross=armhf ;;
    *) say "$1 is not one of amd64, arm64, armhf"; exit 64 ;;
    esac
    if [ "$(dpkg --print-architecture)" = "$cross" ]; then
        install gcc libc6-dev
        for_target=() objdump=objdump
    else
        install "gcc-$prefix" "libc6-dev-$cross-cross"
        for_target=(--target "$target") objdump=$prefix-objdump
        local name=${target//-/_}
        export "CARGO_TARGET_${name^^}_LINKER=$prefix-gcc" "CC_$name=$prefix-gcc" "AR_$name=$prefix-ar"
        [ "$cross" = armhf ] && export "CFLAGS_$name=-march=armv7-a -mfpu=vfpv3-d16 -mfloat-abi=hard"
    fi
    standard_library "$cross"
}

# Provides the standard library of `target`: from rustup, or else Debian's library with Debian's
# compiler.
standard_library() {
    local folder
    folder=$(rustc --print sysroot)/lib/rustlib/$target/lib
    if compgen -G "$folder/libstd-*.rlib" >/dev/null; then
        return
    fi
    if command -v rustup >/dev/null && rustup target add "$target"; then
        return
    fi
    say "$target not available from rustup: using Debian's rustc-web"
    install rustc-web "libstd-rust-web-dev:$1"
    export RUSTC=/usr/bin/rustc
}
