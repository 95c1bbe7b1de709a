# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# flash.sh keys, flash.sh bundle: updates that devices take, signed by a key that stays with you.

keys_help() {
    cat <<'X'
Usage: ./flash.sh keys FOLDER [--name TEXT] [--days N]

Makes what signs your updates, in FOLDER: update.cert.pem goes into your images (build --keyring), update.key.pem signs
bundles (bundle --key) and belongs to nobody else. Who has it can put any software onto your devices; who loses it can
update none of them. Keep it off the network, and a copy of it elsewhere.

  --name TEXT  whose key it is (default: Porter updates)
  --days N     how long it is valid (default 7300, twenty years: a device whose clock is wrong must still be updated)
X
}

keys_main() {
    local folder='' name='Porter updates' days=7300
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) keys_help; exit 0 ;;
            --name) name=${2:-}; shift ;;
            --days) days=${2:-}; shift ;;
            -*) wrong "keys: unknown option $1" "./flash.sh keys --help" ;;
            *) folder=$1 ;;
        esac
        shift
    done
    [ -n "$folder" ] || wrong "keys: expected a FOLDER" "./flash.sh keys --help"
    [[ $name =~ ^[A-Za-z0-9\ ._-]{1,60}$ ]] || wrong "--name: expected up to 60 letters, digits, blanks, . _ -"
    [[ $days =~ ^[1-9][0-9]{0,4}$ ]] || wrong "--days $days: expected a number of days"
    need_programs openssl:openssl
    [ ! -e "$folder/update.key.pem" ] || wrong "$folder/update.key.pem: there is one already" "name another folder"
    mkdir -p "$folder"
    (
        umask 077
        openssl req -x509 -newkey rsa:4096 -sha256 -nodes -days "$days" -subj "/CN=$name" \
            -addext "keyUsage=critical,digitalSignature,keyCertSign" -keyout "$folder/update.key.pem" \
            -out "$folder/update.cert.pem" 2> /dev/null
    ) || failed "openssl could not make a key in $folder"
    chmod 644 "$folder/update.cert.pem"
    echo "$folder/update.cert.pem and $folder/update.key.pem; next: ./flash.sh build --keyring $folder/update.cert.pem"
}

bundle_help() {
    cat <<'X'
Usage: ./flash.sh bundle --image NAME.img --cert FILE --key FILE [--out FILE]

Makes an update (a RAUC bundle of the verity format) out of an image that ./flash.sh build made: the two files beside it,
NAME.root.squashfs and NAME.boot.vfat. Devices whose image has the certificate take it: porter update FILE.

  --image FILE  the image
  --cert FILE   the certificate that the devices have (./flash.sh keys)
  --key FILE    its key, or a PKCS#11 URI
  --out FILE    default: NAME.raucb
X
}

bundle_main() {
    local image='' cert='' key='' target='' name folder said board
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) bundle_help; exit 0 ;;
        esac
        [ $# -ge 2 ] || wrong "bundle: $1 wants a value, or is not known" "./flash.sh bundle --help"
        case $1 in
            --image) image=$2 ;;
            --cert) cert=$2 ;;
            --key) key=$2 ;;
            --out) target=$2 ;;
            *) wrong "bundle: unknown option $1" "./flash.sh bundle --help" ;;
        esac
        shift 2
    done
    need_programs rauc:rauc mksquashfs:squashfs-tools openssl:openssl
    name=${image%.img}
    for each in "$image" "$name.root.squashfs" "$name.boot.vfat" "$name.compatible"; do
        [ -e "$each" ] || wrong "bundle: ${each:---image}: not there" "./flash.sh build makes all of them"
    done
    openssl x509 -in "$cert" -noout 2> /dev/null || wrong "--cert $cert: expected a certificate in PEM form"
    [[ $key == pkcs11:* ]] || [ -e "$key" ] || wrong "--key $key: not there"
    target=${target:-$name.raucb}
    [ ! -e "$target" ] || wrong "$target: there is one already" "delete it, or name another --out"
    folder=$(mktemp -d -p "$(dirname "$name")" bundle.XXXXXX)
    # shellcheck disable=SC2064  # the folder of now
    trap "rm -rf '$folder'" EXIT
    mkdir "$folder/in"
    cp --reflink=auto "$name.root.squashfs" "$folder/in/root.img"
    cp --sparse=never "$name.boot.vfat" "$folder/in/boot.img"
    board=$(sed -n 1p "$name.compatible")
    cat > "$folder/in/manifest.raucm" <<X
[update]
compatible=$board
version=$(sed -n 2p "$name.compatible")

[bundle]
format=verity

[image.rootfs]
filename=root.img

[image.boot]
filename=boot.img
X
    said=$(rauc bundle --cert="$cert" --key="$key" --mksquashfs-args="-comp zstd -Xcompression-level 3" "$folder/in" "$folder/update.raucb" 2>&1) ||
        failed "rauc bundle: $(echo "$said" | tail -n 2)"
    mv "$folder/update.raucb" "$target"
    say "$target: $(($(stat -c %s "$target") / 1048576)) MB for $board"
}
