# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# flash.sh write: an image onto a card, checked before and after, and then the settings of one device. Nothing is mounted.
# What may be written, and whether it holds what was written, is decided in card_disk.py.

write_help() {
    cat <<'X'
Usage: sudo ./flash.sh write [--image FILE] /dev/sdX [settings]
       ./flash.sh write [--image FILE] --to-file card.img [settings]

Writes an image of a card, reads it back, and puts the settings of one device onto its first partition. Nothing is
written before all of this was found good: the image's SHA-256, the settings, and the disk (whole, large enough,
removable, not in use). Then it shows the disk and wants its name typed.

  --image FILE              .img, or .img.zst, .img.xz, .img.gz; beside it NAME.bmap and NAME.sha256, as build makes them
                            (default: the newest in out/image)
  --to-file FILE            into a new file instead of a disk, for a virtual machine or another program
  --sha256 HEX              the image's hash, instead of the one in NAME.sha256
  --yes NAME                the disk's name, as sdb, typed beforehand: no question
  --internal-disk           allow a disk that is neither removable nor USB nor an SD card

Settings, all optional; files on the card's partition PORTER do the same later (docs/card.md):
X
    settings_help
    cat <<'X'

./flash.sh list shows the disks. Needs root for a disk, and: bmaptool sfdisk mtools lsblk flock python3.
X
}

list_main() {
    case ${1:-} in --help | -h) echo "Usage: ./flash.sh list     the disks that ./flash.sh write takes"; exit 0 ;; esac
    [ $# = 0 ] || wrong "list takes no options"
    need_programs lsblk:util-linux python3:python3
    list_disks
}

list_disks() {
    local found
    found=$(card_disk list) || exit 1
    [ -n "$found" ] || failed "no disk that could be written: none is removable, USB or an SD card, and free"
    printf '%s\n' "$found"
}

card_disk() {
    # shellcheck disable=SC2153  # IMAGE is a folder of flash.sh
    python3 "$IMAGE/lib/card_disk.py" "$@"
}

write_options() {
    image='' disk='' to_file='' sha256='' yes='' internal=no settings=()
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) write_help; exit 0 ;;
            --internal-disk) internal=yes; shift; continue ;;
            --*)
                { [ $# -ge 2 ] && [ -n "$2" ]; } ||
                    wrong "write: $1 wants a value, or is not known" "./flash.sh write --help lists the options"
                ;;
            *)
                [ -z "$disk" ] || wrong "write: one disk at a time, got $disk and $1"
                disk=$1
                shift
                continue
                ;;
        esac
        case $1 in
            --image) image=$2 ;;
            --to-file) to_file=$2 ;;
            --sha256) sha256=${2,,} ;;
            --yes) yes=${2#/dev/} ;;
            --config | --wifi-file | --ssh-key | --hostname | --timezone | --secrets | --mqtt-*) settings+=("$1" "$2") ;;
            *) wrong "write: unknown option $1" "./flash.sh write --help lists the options" ;;
        esac
        shift 2
    done
    if [ -z "$disk$to_file" ]; then
        (list_disks) >&2 || true
        wrong "write: which disk?" "./flash.sh write /dev/sdX, or --to-file card.img"
    fi
    [ -z "$disk" ] || [ -z "$to_file" ] || wrong "write: a disk or --to-file, not both"
}

# The image and what belongs to it: sets image, bmap.
write_image() {
    [ -n "$image" ] || image=$(newest_image)
    [ -n "$image" ] || wrong "write: no image in out/image" "./flash.sh build makes one, or --image FILE"
    { [ -f "$image" ] && [ -r "$image" ]; } || wrong "--image $image: expected a file that can be read"
    local base=$image unpack=''
    case $image in
        *.img) ;;
        *.img.zst) unpack=zstd ;;
        *.img.xz) unpack=xz-utils ;;
        *.img.gz) unpack=gzip ;;
        *) wrong "--image $image: expected .img, .img.zst, .img.xz or .img.gz" ;;
    esac
    [ -z "$unpack" ] || need_programs "${unpack%-utils}:$unpack"
    base=${image%.img*}
    bmap=$base.bmap
    [ -f "$bmap" ] || wrong "$bmap: not there, expected beside the image" "./flash.sh build makes it; bmaptool create as well"
    write_hash "$base.sha256" "$image" "$sha256"
    [ -n "$sha256" ] || write_hash "$base.sha256" "$bmap" ''
    need_bytes=$(card_disk size "$bmap") || exit 2
}

# write_hash FILE WITH-HASHES, FILE, HASH or nothing
write_hash() {
    local expected=$3 found
    if [ -z "$expected" ]; then
        [ -f "$1" ] || wrong "$1: not there, expected beside the image" "or give the hash: --sha256 HEX"
        expected=$(awk -v name="${2##*/}" '$2 == name || $2 == "*" name {print $1; exit}' "$1")
        [ -n "$expected" ] || wrong "$1: no line for ${2##*/}" "or give the hash: --sha256 HEX"
    fi
    [[ $expected =~ ^[0-9a-f]{64}$ ]] || wrong "$expected: expected a SHA-256, 64 digits from 0 to f"
    found=$(sha256sum < "$2" | cut -d' ' -f1)
    [ "$found" = "$expected" ] || wrong "$2: its SHA-256 is $found, expected $expected" "it is damaged or another one: get it again"
}

# Asks for the disk's name. The description comes from card_disk.py.
write_confirm() {
    local name typed
    name=$(basename "$(readlink -f "$disk")")
    printf 'This disk will be overwritten, and everything on it lost:\n\n  %s\n\n' "$1"
    if [ -n "$yes" ]; then
        [ "$yes" = "$name" ] || wrong "--yes $yes: the disk is $name"
        return
    fi
    [ -t 0 ] || wrong "nobody here to ask whether to overwrite $disk" "--yes $name"
    read -r -p "Type its name ($name) to go on: " typed || typed=''
    [ "$typed" = "$name" ] || wrong "not $name: nothing was written"
}

# What an interruption leaves, by how far it came.
write_interrupted() {
    trap - INT TERM HUP
    printf '\nflash.sh: interrupted. %s\n' "$state" >&2
    exit 1
}

write_tidy() {
    rm -rf "$TMPDIR"
    [ -z "$half" ] || rm -f "$half"
}

# write_copy TARGET: image, holes, and all of it read back.
write_copy() {
    state="$2 is half written and starts no device: write it again."
    say "writing ${image##*/}"
    bmaptool copy --bmap "$bmap" "$image" "$1" || failed "bmaptool could not write $2" "$state"
    card_disk fill "$1" "$bmap" > /dev/null || failed "$2 could not be written whole" "$state"
    state="$2 is written but not verified: write it again."
    say "reading it back"
    card_disk verify "$1" "$bmap" > /dev/null || failed "$2 does not hold the image" "a worn or false card? Try another one"
}

# write_settings TARGET: the files of `settings` onto the first partition, and read back. No mount.
write_settings() {
    local folder offset file said
    [ ${#settings[@]} -gt 0 ] || return 0
    state="$2 holds the image, but not all of its settings: write it again, or put the files there by hand."
    say "settings"
    offset=$(card_disk offset "$1") || exit 1
    folder=$(mktemp -d)
    settings_main --into "$folder" "${settings[@]}"
    for file in "$folder"/*; do
        said=$(MTOOLS_SKIP_CHECK=1 mcopy -n -o -i "$1@@$offset" "$file" "::/porter/${file##*/}" 2>&1) ||
            failed "${file##*/} could not be put onto $2: $said" "$state"
    done
    sync "$1"
    [ ! -b "$1" ] || blockdev --flushbufs "$1"
    for file in "$folder"/*; do
        MTOOLS_SKIP_CHECK=1 mtype -i "$1@@$offset" "::/porter/${file##*/}" 2>/dev/null | cmp -s - "$file" ||
            failed "${file##*/} reads back otherwise from $2" "$state"
    done
}

write_to_file() {
    [ ! -e "$to_file" ] || wrong "--to-file $to_file: there is one already" "delete it or take another name"
    half=$to_file.half
    : > "$half" || failed "--to-file $to_file: cannot be written"
    write_copy "$half" "$to_file"
    # bmaptool ends the file with the last mapped block; a card does not.
    truncate -s "$need_bytes" "$half"
    write_settings "$half" "$to_file"
    mv "$half" "$to_file"
    half=''
    say "$to_file is written and verified"
}

write_to_disk() {
    local shown
    shown=$(card_disk check "$disk" "$need_bytes" "$internal") || exit $?
    write_confirm "$shown"
    # While this is locked udev leaves the disk alone, so no desktop mounts what is not finished; when it is closed, udev
    # looks again (systemd.io/BLOCK_DEVICE_LOCKING).
    exec 9<> "$disk"
    flock --exclusive --timeout 10 9 || wrong "$disk is in use by another program"
    card_disk check "$disk" "$need_bytes" "$internal" > /dev/null || exit $?
    write_copy "$disk" "$disk"
    write_settings "$disk" "$disk"
    exec 9>&-
    say "$disk is written and verified: take it out"
}

write_main() {
    state="Nothing was written." half=''
    write_options "$@"
    need_programs bmaptool:bmap-tools sfdisk:fdisk mcopy:mtools lsblk:util-linux flock:util-linux python3:python3
    # What is staged on the way, secrets among it, goes away however this ends.
    TMPDIR=$(mktemp -d)
    export TMPDIR
    trap write_tidy EXIT
    trap write_interrupted INT TERM HUP
    write_image
    [ ${#settings[@]} = 0 ] || settings_main --check "${settings[@]}"
    if [ -n "$to_file" ]; then
        write_to_file
    else
        write_to_disk
    fi
}
