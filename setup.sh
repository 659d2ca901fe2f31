#!/bin/sh
# Installs protoc, which the build script of etcd-client needs. Nothing else.
set -eu

protoc=${PROTOC:-protoc}
has() { command -v "$1" >/dev/null 2>&1; }
run() { echo "setup.sh: $*" && "$@"; }

# Whether protoc is here, with the files that it brings for others to import:
# some systems have those in a package of their own.
works() {
    dir=$(mktemp -d)
    echo 'syntax = "proto3"; import "google/protobuf/struct.proto";' >"$dir/try.proto"
    "$protoc" -I "$dir" -o /dev/null "$dir/try.proto" >/dev/null 2>&1 && status=0 || status=1
    rm -r "$dir"
    return "$status"
}

if works; then
    echo "setup.sh: nothing to do, protoc is here: $("$protoc" --version)"
    exit 0
fi

root=
if [ "$(id -u)" -ne 0 ] && has sudo; then root=sudo; fi

# $root is one word or none: unquoted on purpose.
# shellcheck disable=SC2086
install() {
    if has apt-get; then
        run $root apt-get install -y protobuf-compiler libprotobuf-dev ||
            # The package lists are missing or out of date.
            { run $root apt-get update &&
                run $root apt-get install -y protobuf-compiler libprotobuf-dev; }
    elif has dnf; then run $root dnf install -y protobuf-compiler protobuf-devel
    elif has pacman; then run $root pacman -S --noconfirm --needed protobuf
    elif has zypper; then run $root zypper --non-interactive install protobuf-devel
    elif has apk; then run $root apk add protoc protobuf-dev
    elif has brew; then run brew install protobuf
    else
        echo "setup.sh: none of apt-get, dnf, pacman, zypper, apk and brew is here" >&2
        return 1
    fi
}

if install && works; then
    echo "setup.sh: installed $("$protoc" --version)"
else
    echo "setup.sh: there is still no $protoc that works (see above). Install it by hand, and unset" >&2
    echo "PROTOC if it is set; README.md, 'Set-up by hand', has the line for each system." >&2
    exit 1
fi
