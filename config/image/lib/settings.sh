# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# The settings of one device as files, checked, in a folder: what flash.sh write puts onto a card's first partition, and
# flash.sh build into the image. The device takes them when it starts (docs/card.md).

SECRETS="wifi.conf mqtt-username mqtt-password mqtt-ca mqtt-client-cert mqtt-client-key"

settings_help() {
    cat <<'X'
  --config FILE             porter.yaml
  --wifi-file FILE          wireless networks, in the form of wpa_supplicant.conf
  --ssh-key FILE            public key that may log in as admin; may be repeated
  --hostname NAME           the device's name in the network
  --timezone ZONE           as Europe/Berlin
  --mqtt-username FILE, --mqtt-password FILE, --mqtt-ca FILE, --mqtt-client-cert FILE, --mqtt-client-key FILE
                            what the broker wants, each in a file: a secret is never a word of a command
  --secrets FOLDER          all of those that lie in it, by the names mqtt-username ... and wifi.conf
X
}

# settings_main --check OPTION VALUE ...: exits with 2 and the reason where something is wrong.
# settings_main --into FOLDER OPTION VALUE ...: the same, and the files are in FOLDER.
settings_main() {
    local into='' staged status=0
    case ${1:-} in
        --check) shift ;;
        --into) into=$2; shift 2 ;;
        *) wrong "settings: expected --check or --into FOLDER" ;;
    esac
    staged=$(mktemp -d)
    # A subshell: what was staged goes away however it ends. `set -e` does not hold in it, so each step says so itself.
    (
        settings_stage "$staged" "$@"
        settings_check "$staged"
        [ -z "$into" ] || [ -z "$(ls -A "$staged")" ] || cp --no-preserve=mode,ownership "$staged"/* "$into/" || exit 1
    ) || status=$?
    rm -rf "$staged"
    [ "$status" = 0 ] || exit "$status"
}

settings_stage() {
    local folder=$1 file name found
    shift
    while [ $# -gt 0 ]; do
        { [ $# -ge 2 ] && [ -n "$2" ]; } || wrong "$1 wants a value"
        case $1 in
            --hostname | --timezone) printf '%s\n' "$2" > "$folder/${1#--}" ;;
            --config) settings_file "$1" "$2" "$folder/porter.yaml" ;;
            --wifi-file) settings_file "$1" "$2" "$folder/wifi.conf" ;;
            --ssh-key)
                settings_file "$1" "$2" "$folder/key"
                (cat "$folder/key"; echo) >> "$folder/authorized_keys"
                rm "$folder/key"
                ;;
            --mqtt-username | --mqtt-password | --mqtt-ca | --mqtt-client-cert | --mqtt-client-key)
                settings_file "$1" "$2" "$folder/${1#--}"
                ;;
            --secrets)
                [ -d "$2" ] || wrong "--secrets $2: expected a folder"
                found=''
                for file in "$2"/*; do
                    [ -e "$file" ] || continue
                    name=${file##*/}
                    [[ " $SECRETS " == *" $name "* ]] ||
                        wrong "--secrets $2: $name is none of $SECRETS" "nothing else may lie in it"
                    settings_file --secrets "$file" "$folder/$name"
                    found=1
                done
                [ -n "$found" ] || wrong "--secrets $2: empty, expected any of $SECRETS"
                ;;
            *) wrong "unknown option $1" "--help lists the options" ;;
        esac
        shift 2
    done
}

# settings_file OPTION FILE TARGET
settings_file() {
    { [ -f "$2" ] && [ -r "$2" ]; } || wrong "$1 $2: expected a file that can be read"
    [ "$(stat -L -c %s "$2")" -le 65536 ] || wrong "$1 $2: larger than 64 KiB: is it the right file?"
    cat "$2" > "$3" || failed "$1 $2: could not be copied"
}

settings_check() {
    local python=$HERE/.venv/bin/python status=0 zone='' name
    [ -x "$python" ] || python=python3
    "$python" "$IMAGE/lib/check_settings.py" "$1" || status=$?
    case $status in
        0) ;;
        3) settings_check_by_hand "$1" ;;
        *) exit 2 ;;
    esac
    if [ -s "$1/authorized_keys" ] && command -v ssh-keygen > /dev/null; then
        ssh-keygen -l -f "$1/authorized_keys" > /dev/null 2>&1 ||
            wrong "--ssh-key: ssh-keygen finds no public key in it" "take the .pub file"
    fi
    [ ! -e "$1/timezone" ] || zone=$(tr -d '\r\n' < "$1/timezone")
    if [ -n "$zone" ] && [ -d /usr/share/zoneinfo ] && [ ! -f "/usr/share/zoneinfo/$zone" ]; then
        wrong "--timezone $zone: no such time zone" "as Europe/Berlin; timedatectl list-timezones"
    fi
    for name in cert key; do
        [ -e "$1/mqtt-client-$name" ] || continue
        { [ -e "$1/mqtt-client-cert" ] && [ -e "$1/mqtt-client-key" ]; } ||
            wrong "--mqtt-client-$name: certificate and key go together, expected both"
    done
}

# Without Porter's own environment: what the shell can tell.
settings_check_by_hand() {
    local name
    if [ -e "$1/hostname" ]; then
        name=$(tr -d '\r\n' < "$1/hostname")
        [[ $name =~ ^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$ ]] ||
            wrong "--hostname $name: expected 1 to 63 letters, digits and -, not - at an end"
    fi
    ! grep -qsa 'PRIVATE KEY' "$1/authorized_keys" ||
        wrong "--ssh-key: a private key, which belongs to nobody but you" "take the .pub file"
    for name in porter.yaml wifi.conf; do
        [ ! -e "$1/$name" ] || printf 'Not checked here: %s (no environment of Porter on this machine; %s).\n%s\n' "$name" \
            "make lint makes one" "The device refuses a wrong one and says why in problems.txt on the card."
    done
}
