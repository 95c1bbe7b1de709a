#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From this checkout to a door camera's SD card: `./flash.sh build`, then `./flash.sh write /dev/sdX`.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
IMAGE=$HERE/config/image
# shellcheck disable=SC2034  # for the commands
DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
PATH=$PATH:/usr/sbin:/sbin

help() {
    cat <<'X'
Usage: ./flash.sh COMMAND [options]

  build      an image of an SD card, from Debian's packages and this checkout (root; a quarter of an hour and more the first time)
  write      that image to a card, with the settings of one device; checks the card before and after
  list       which disks could be written
  manifest   the file by which Raspberry Pi Imager offers an image
  keys       a certificate and key of your own, which sign updates
  bundle     an update for devices in the field, out of a built image

Each has its own --help. The way of most people:

  sudo ./flash.sh build --flavour raspios --board rpi4
  sudo ./flash.sh write /dev/sdX --config porter.yaml --wifi-file wifi.conf --ssh-key ~/.ssh/id_ed25519.pub

Exit codes: 0 done, 1 failed, 2 wrong use. docs/install.md has the whole way, with pictures.
X
}

say() {
    printf '%4d s  %s\n' "$SECONDS" "$*"
}

# wrong WHAT [HINT]: the user has to change something; nothing was done.
wrong() {
    printf 'flash.sh: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2
    exit 2
}

# failed WHAT [HINT]: it could not be done.
failed() {
    printf 'flash.sh: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2
    exit 1
}

# need_programs PROGRAM:PACKAGE ...
need_programs() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] || failed "missing: ${missing[*]}" "apt install ${missing[*]}"
}

command=${1:-help}
[ $# = 0 ] || shift
for library in "$IMAGE"/lib/*.sh; do
    # shellcheck source=/dev/null  # the commands, each in a file of its own
    . "$library"
done
case $command in
    help | --help | -h) help ;;
    build | write | list | manifest | keys | bundle) "${command}_main" "$@" ;;
    *) wrong "unknown command $command" "./flash.sh --help lists them" ;;
esac
