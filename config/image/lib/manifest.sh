# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# flash.sh manifest: the file by which Raspberry Pi Imager offers an image.

manifest_help() {
    cat <<'X'
Usage: ./flash.sh manifest --url URL [--image FILE]

Prints what Raspberry Pi Imager reads to offer this image. Serve it beside the image, or open it in Imager: App
options, Content repository, Use custom URL or file. docs/card.md has more.

  --url URL      where the image is served: https://.../ or, for this computer alone, file:///its/folder
  --image FILE   .img.zst, .img.xz, .img.gz or .img, named as build names it (default: the newest in out/image)
X
}

manifest_main() {
    local image='' url=''
    while [ $# -gt 0 ]; do
        case $1 in --help | -h) manifest_help; exit 0 ;; esac
        { [ $# -ge 2 ] && [ -n "$2" ]; } || wrong "manifest: $1 wants a value, or is not known" "./flash.sh manifest --help"
        case $1 in
            --url) url=$2 ;;
            --image) image=$2 ;;
            *) wrong "manifest: unknown option $1" "./flash.sh manifest --help lists the options" ;;
        esac
        shift 2
    done
    [ -n "$url" ] || wrong "manifest: --url is missing" "./flash.sh manifest --help"
    [ -n "$image" ] || image=$(newest_image)
    [ -n "$image" ] || wrong "manifest: no image in out/image" "./flash.sh build makes one, or --image FILE"
    need_programs python3:python3
    # shellcheck disable=SC2153  # IMAGE is a folder of flash.sh
    python3 "$IMAGE/lib/manifest.py" "$image" "$url"
}

# The newest that build made; nothing where there is none.
newest_image() {
    find "$HERE/out/image" -maxdepth 1 -name '*.img.zst' -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d' ' -f2-
}
