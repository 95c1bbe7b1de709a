# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# flash.sh build: from Debian's packages, the wheels that Debian does not have and this checkout to an image of an SD
# card. No loop device, no mount of an image: file systems are made from folders and put together by genimage.

build_help() {
    cat <<'X'
Usage: sudo ./flash.sh build [options]

Makes an image of an SD card: a read-only system in two slots (one is empty until the first update) and a data
partition. The packages alone take a quarter of an hour the first time; with everything in the cache all of it takes
2 to 3 minutes.

  --flavour debian|raspios  debian (default): Debian's kernel; USB cameras, Raspberry Pi 4
                            raspios: Raspberry Pi's kernel and camera stack; CSI cameras
  --board rpi4|rpi5         the board (default rpi4); rpi5 needs --flavour raspios
  --out FOLDER              where the image goes (default: out/image)
  --version TEXT            what the image calls itself (default: Porter's version and the commit)
  --keyring FILE            certificate (PEM) that signs your updates (./flash.sh keys makes one); without it the
                            image takes no updates
  --deb FILE|URL            one more package, e.g. libedgetpu1-std, with its --sha256; may be repeated
  --sha256 HEX              the hash of the --deb before it
  --mirror URL              Debian's archive (default: the one this machine uses, else deb.debian.org)
  --pi-mirror URL           Raspberry Pi's archive (default: archive.raspberrypi.com), for raspios
  --pi-keyring FILE         the keyring that signs it (package raspberrypi-archive-keyring), for raspios
  --cache FOLDER            default: porter-image in your cache folder
  --fast                    do not run the packages' own set-up scripts: minutes, not a quarter of an hour; for tests only
  --config FILE, --wifi-file FILE, --ssh-key FILE, --hostname NAME, --timezone ZONE, --secrets FOLDER
                            settings of one device, as for `./flash.sh write`

Needs root (to make files that belong to root), and: mmdebstrap arch-test qemu-user-static binfmt_misc mksquashfs genimage
mcopy mkfs.vfat mke2fs bmaptool zstd python3 with venv.
X
}

build_defaults() {
    flavour=debian board=rpi4 out=$HERE/out/image version='' keyring='' mirror='' fast='' settings=()
    pi_mirror=http://archive.raspberrypi.com/debian pi_keyring=/usr/share/keyrings/raspberrypi-archive-keyring.pgp
    # Before Raspberry Pi OS of Debian 13 it had another ending.
    [ -e "$pi_keyring" ] || pi_keyring=${pi_keyring%.pgp}.gpg
    cache=${PORTER_IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/porter-image} debs=() hashes=()
    suite=trixie
}

build_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) build_help; exit 0 ;;
            --fast) fast=1; shift; continue ;;
        esac
        [ $# -ge 2 ] || wrong "build: $1 wants a value, or is not known" "./flash.sh build --help lists the options"
        case $1 in
            --flavour) flavour=$2 ;;
            --board) board=$2 ;;
            --out) out=$2 ;;
            --version) version=$2 ;;
            --keyring) keyring=$2 ;;
            --deb) debs+=("$2") ;;
            --sha256) hashes+=("$2") ;;
            --mirror) mirror=$2 ;;
            --pi-mirror) pi_mirror=$2 ;;
            --pi-keyring) pi_keyring=$2 ;;
            --cache) cache=$2 ;;
            --config | --wifi-file | --ssh-key | --hostname | --timezone | --secrets) settings+=("$1" "$2") ;;
            *) wrong "build: unknown option $1" "./flash.sh build --help lists the options" ;;
        esac
        shift 2
    done
}

build_checks() {
    case $flavour in debian | raspios) ;; *) wrong "--flavour $flavour: expected debian or raspios" ;; esac
    case $board in rpi4 | rpi5) ;; *) wrong "--board $board: expected rpi4 or rpi5" ;; esac
    [ "$flavour-$board" != debian-rpi5 ] ||
        wrong "--board rpi5: the kernel of Debian 13 does not start a Raspberry Pi 5" "take --flavour raspios"
    [ -z "$keyring" ] || openssl x509 -in "$keyring" -noout 2>/dev/null ||
        wrong "--keyring $keyring: expected a certificate in PEM form" "./flash.sh keys makes one"
    [ ${#debs[@]} = ${#hashes[@]} ] || wrong "--deb: each wants its --sha256 (${#debs[@]} and ${#hashes[@]} given)"
    local each
    for each in "${hashes[@]}"; do
        [[ $each =~ ^[0-9a-f]{64}$ ]] || wrong "--sha256 $each: expected 64 digits from 0 to f"
    done
    version=${version:-$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$HERE/device/__init__.py")$(
        git -C "$HERE" rev-parse --short=8 HEAD 2>/dev/null | sed 's/^/+g/'
    )}
    [[ $version =~ ^[A-Za-z0-9.+~-]{1,60}$ ]] || wrong "--version $version: expected up to 60 letters, digits, . + ~ -"
    need_programs mmdebstrap:mmdebstrap mksquashfs:squashfs-tools genimage:genimage mcopy:mtools mkfs.vfat:dosfstools \
        mke2fs:e2fsprogs bmaptool:bmap-tools zstd:zstd openssl:openssl
    [ "$(id -u)" = 0 ] || failed "build makes files that belong to root" "run it with sudo"
    [ "$(uname -m)" = aarch64 ] || emulation
    [ "$flavour" = debian ] || [ -e "$pi_keyring" ] ||
        wrong "--pi-keyring $pi_keyring: not there" "it is in the package raspberrypi-archive-keyring of Raspberry Pi OS"
    [ -e "$DEBIAN_KEYRING" ] || wrong "$DEBIAN_KEYRING: not there" "apt install debian-archive-keyring"
    [ -n "$mirror" ] || mirror=$(debian_mirror)
    mkdir -p "$out" "$cache"
    [ "$(df --output=avail -B1M "$cache" | tail -n 1)" -gt 3000 ] || failed "$cache: expected 3 GB of free space"
    if [ ${#settings[@]} -gt 0 ]; then
        settings_main --check "${settings[@]}"
    fi
}

# Programs of the other architecture run through qemu-user; the kernel has to know that (F: also in a changed root).
emulation() {
    # Without it mmdebstrap does not believe that set-up scripts of the other architecture run.
    [ -n "$fast" ] || need_programs arch-test:arch-test
    [ -e /usr/bin/qemu-aarch64-static ] || failed "qemu-user-static is missing" "apt install qemu-user-static"
    [ -e /proc/sys/fs/binfmt_misc/status ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
        failed "this kernel cannot run programs of another architecture (binfmt_misc)" "build on a Raspberry Pi"
    [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] ||
        cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register ||
        failed "qemu-aarch64 could not be registered with the kernel" "systemctl restart systemd-binfmt"
}

debian_mirror() {
    local known
    known=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
    echo "${known:-http://deb.debian.org/debian}"
}

packages() {
    sed -e 's/#.*//' -e '/^ *$/d' "$IMAGE/packages.common" "$IMAGE/packages.$flavour" | sort -u | tr -d ' '
}

# What the packages' set-up scripts make an initramfs from has to be there before them.
initramfs_files() {
    # Not the commit's time: it is part of the cached root's name, and each commit would make a new root.
    tar -C "$IMAGE/root" --sort=name --owner=0 --group=0 --mtime=@0 -cf - etc/initramfs-tools
}

# The root with all packages, as a tar in the cache, named after the hash of all that it is made from.
base_root() {
    local name key sources
    # The same root whichever commit makes it: nothing in it, the initramfs above all, is younger than this.
    local -x SOURCE_DATE_EPOCH=1767225600
    key=$( (packages; initramfs_files; echo "$flavour $suite $fast"; declare -f base_root ${fast:+finish_fast}) | sha256sum | cut -c1-16)
    name=$cache/root-$flavour${fast:+-fast}-$key.tar
    base=$name
    if [ -e "$name" ]; then
        say "the root of packages: from the cache"
        return
    fi
    say "the root of packages: $( [ -n "$fast" ] && echo some minutes || echo a quarter of an hour and more ) the first time"
    sources=("deb [signed-by=$DEBIAN_KEYRING] $mirror $suite main non-free-firmware")
    [ "$flavour" = debian ] || sources+=("deb [signed-by=$pi_keyring] $pi_mirror $suite main")
    local options=(--architectures=arm64 --variant="$([ -n "$fast" ] && echo extract || echo minbase)"
        --include="$(packages | paste -sd,)${fast:+,?essential,?priority(required)}" --dpkgopt=path-exclude=/usr/share/man/*
        --dpkgopt=path-exclude=/usr/share/doc/* --dpkgopt=path-include=/usr/share/doc/*/copyright
        --dpkgopt=path-exclude=/usr/share/locale/*)
    # The kernel's set-up script would make the initramfs, a trigger once more, and each takes four minutes under
    # emulation: INITRD=No tells them not to, and it is made once at the end.
    local -x INITRD=No
    # shellcheck disable=SC2016  # the hook's shell expands it
    local initramfs='for kernel in "$1"/lib/modules/*; do
        chroot "$1" mkinitramfs -o "/boot/initrd.img-${kernel##*/}" "${kernel##*/}" || exit 1
    done'
    [ -n "$fast" ] || options+=(--extract-hook="tar -C \"\$1\" -xf '$work/initramfs.tar'" --customize-hook="$initramfs")
    initramfs_files > "$work/initramfs.tar"
    mmdebstrap "${options[@]}" "$suite" "${name%.tar}.half.tar" "${sources[@]}" > "$work/mmdebstrap.log" 2>&1 ||
        failed "mmdebstrap: $(grep '^E:' "$work/mmdebstrap.log" | tail -n 3)" "its log: $(keep_log mmdebstrap.log)"
    [ -z "$fast" ] || finish_fast "${name%.tar}.half.tar"
    mv "${name%.tar}.half.tar" "$name"
}

keep_log() {
    cp "$work/$1" "$out/$1"
    echo "$out/$1"
}

# What Debian does not have: wheels by hash. A wheel is an archive, so it needs no pip of the other architecture.
wheels() {
    local folder=$cache/wheels
    mkdir -p "$folder"
    if ! sed -n 's/.*--hash=sha256:\([0-9a-f]*\).*/\1/p' "$IMAGE/requirements.txt" | while read -r hash; do
        sha256sum "$folder"/*.whl 2>/dev/null | grep -q "^$hash " || exit 1
    done; then
        say "wheels"
        python3 -m venv "$work/pip" || failed "python3-venv is missing" "apt install python3-venv"
        local tags=() tag
        for tag in 2_17 2_27 2_28 2_31 2_34; do tags+=(--platform "manylinux_${tag}_aarch64"); done
        "$work/pip/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
            --only-binary=:all: --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none \
            --platform manylinux2014_aarch64 "${tags[@]}" -d "$folder" -r "$IMAGE/requirements.txt" \
            > "$work/pip.log" 2>&1 || failed "a wheel: $(grep -i error "$work/pip.log" | tail -n 2)"
    fi
    local hash wheel
    while read -r hash; do
        wheel=$(sha256sum "$folder"/*.whl | sed -n "s/^$hash  //p" | head -n 1)
        [ -n "$wheel" ] || failed "the wheel of hash $hash is not in $folder" "delete the folder and try again"
        python3 -m zipfile -e "$wheel" "$1"
    done < <(sed -n 's/.*--hash=sha256:\([0-9a-f]*\).*/\1/p' "$IMAGE/requirements.txt")
}

# shellcheck disable=SC2016  # the inner shell expands them
in_root() {
    unshare --mount --propagation private sh -c 'mount -t proc proc "$0/proc"; exec chroot "$0" "$@"' "$root" "$@"
}

# With --fast no set-up script ran: what Porter needs of their work, done here.
finish_fast() {
    mkdir "$root"
    tar -C "$root" -xf "$1"
    cp -a "$IMAGE/root/etc/initramfs-tools" "$root/etc/"
    cp -n "$root"/usr/share/base-files/* "$root/etc/" 2>/dev/null || true
    cp -n "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
    cp -n "$root/usr/share/base-passwd/group.master" "$root/etc/group"
    cp -n "$root/usr/share/openssh/sshd_config" "$root/etc/ssh/sshd_config"
    ln -sf /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
    find "$root/usr/share/ca-certificates" -name '*.crt' | sort | xargs cat > "$root/etc/ssl/certs/ca-certificates.crt"
    printf '/usr/lib/aarch64-linux-gnu/%s\n' blas lapack > "$root/etc/ld.so.conf.d/alternatives.conf"
    # Without pam-auth-update: nobody has a password, so all that is asked is whether there is such a user.
    local kind
    for kind in auth account password session; do
        echo "$kind required pam_unix.so" > "$root/etc/pam.d/common-$kind"
    done
    cp "$root/etc/pam.d/common-session" "$root/etc/pam.d/common-session-noninteractive"
    in_root ldconfig
    in_root sh -c "cd /usr/bin && { [ -e python3 ] || ln -s python3.13 python3; } && { [ -e awk ] || ln -s mawk awk; }"
    depmod_all
    local kernel
    for kernel in "$root"/lib/modules/*; do
        in_root mkinitramfs -o "/boot/initrd.img-${kernel##*/}" "${kernel##*/}" > "$work/initramfs.log" 2>&1 ||
            failed "mkinitramfs: $(tail -n 3 "$work/initramfs.log")"
    done
    tar -C "$root" --sort=name --clamp-mtime --mtime="@$SOURCE_DATE_EPOCH" -cf "$1" .
    rm -rf "$root"
}

depmod_all() {
    local kernel
    for kernel in "$root"/lib/modules/*; do
        depmod -b "$root" "${kernel##*/}" 2>/dev/null || in_root depmod "${kernel##*/}"
    done
}

install_porter() {
    local opt=$root/opt/porter site
    site=$opt/.venv/lib/python3.13/site-packages
    mkdir -p "$opt" "$site" "$opt/.venv/bin"
    git -C "$HERE" ls-files -z device models config | tar -C "$HERE" --null -T - -cf - | tar -C "$opt" -xf -
    rm -rf "$opt/config/image"
    # A virtual environment is this file, a link and a folder; making it here needs no emulation.
    printf 'home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.13\n' > "$opt/.venv/pyvenv.cfg"
    ln -sf /usr/bin/python3 "$opt/.venv/bin/python"
    printf '#!/opt/porter/.venv/bin/python\nimport sys\n\nfrom device.cli import main\n\nsys.exit(main())\n' > "$opt/.venv/bin/porter"
    chmod 755 "$opt/.venv/bin/porter"
    echo /opt/porter > "$site/porter.pth"
    wheels "$site"
    ln -sf /opt/porter/.venv/bin/porter "$root/usr/bin/porter"
}

install_debs() {
    local n file
    for n in "${!debs[@]}"; do
        file=${debs[$n]}
        if [[ $file == http://* || $file == https://* ]]; then
            curl -fsSL --max-time 600 -o "$work/extra.deb" "$file" || failed "--deb $file: could not be fetched"
            file=$work/extra.deb
        fi
        [ -e "$file" ] || wrong "--deb $file: not there"
        [ "$(sha256sum < "$file" | cut -d' ' -f1)" = "${hashes[$n]}" ] ||
            wrong "--deb ${debs[$n]}: its SHA-256 is $(sha256sum < "$file" | cut -d' ' -f1), expected ${hashes[$n]}"
        cp "$file" "$root/extra.deb"
        in_root dpkg --install --force-confdef /extra.deb > "$work/deb.log" 2>&1 ||
            failed "--deb ${debs[$n]}: $(tail -n 3 "$work/deb.log")"
        rm "$root/extra.deb"
    done
}

install_system() {
    cp -a --no-preserve=ownership "$IMAGE/root/." "$root/"
    chown -R 0:0 "$root/etc/sudoers.d" && chmod 440 "$root/etc/sudoers.d/admin"
    install -m 644 -t "$root/usr/lib/systemd/system" "$HERE"/systemd/*.service "$HERE"/systemd/*.target
    local each
    for each in "$HERE"/systemd/*.socket "$HERE"/systemd/*.timer "$HERE"/systemd/*.path; do
        [ ! -e "$each" ] || install -m 644 -t "$root/usr/lib/systemd/system" "$each"
    done
    # What lies on the data partition belongs to numbers: they stay the same whatever other packages an update brings.
    awk -v id=950 '$1 == "u" || $1 == "g" {sub(/ -( |$)/, " " id++ " ")} {print}' \
        "$HERE/systemd/sysusers.d/porter.conf" > "$root/usr/lib/sysusers.d/porter.conf"
    install -m 644 "$HERE/systemd/tmpfiles.d/porter.conf" "$root/usr/lib/tmpfiles.d/porter.conf"
    install -m 644 -t "$root/usr/lib/udev/rules.d" "$HERE"/systemd/udev.rules.d/*.rules
    cp -r "$HERE"/systemd/*.conf.d "$root/usr/lib/systemd/"
    cp -r "$HERE"/systemd/*.service.d "$root/usr/lib/systemd/system/"
    in_root systemd-sysusers 2> "$work/sysusers.log" || failed "sysusers: $(tail -n 2 "$work/sysusers.log")"
    mkdir -p "$root/data" "$root/boot/autoboot" "$root/etc/porter" "$root/etc/credstore.encrypted" "$root/var/lib/porter"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' > "$root/etc/hosts"
    echo porter > "$root/etc/hostname"
    # What the card's file timezone chose; where it leads nowhere the time is UTC.
    ln -sf /data/etc/localtime "$root/etc/localtime"
    # A key that many devices share is none, and the first boot makes the identity.
    rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
    # Empty, not "uninitialized": there is nothing for a first boot to preset in a read-only /etc.
    : > "$root/etc/machine-id"
    [ -z "$keyring" ] || install -D -m 644 "$keyring" "$root/etc/rauc/keyring.pem"
    [ ! -e "$root/etc/rauc/system.conf" ] || sed -i "s/@COMPATIBLE@/porter-$board-$flavour/" "$root/etc/rauc/system.conf"
    printf 'NAME="Porter"\nID=porter\nID_LIKE=debian\nVERSION_ID="%s"\nPRETTY_NAME="Porter %s (%s, %s)"\n' \
        "$version" "$version" "$flavour" "$board" > "$root/usr/lib/os-release"
    touch -d "@$SOURCE_DATE_EPOCH" "$root/usr/lib/clock-epoch"
    enable_units
}

enable_units() {
    local wanted=(porter.target systemd-networkd systemd-resolved systemd-timesyncd ssh) unit
    for unit in porter-first-boot.service porter-console.service porter-commit.service porter-usb-reset.socket; do
        [ ! -e "$root/usr/lib/systemd/system/$unit" ] || wanted+=("$unit")
    done
    systemctl --root="$root" --quiet enable "${wanted[@]}" 2> "$work/enable.log" ||
        failed "systemctl enable: $(tail -n 2 "$work/enable.log")"
    # porter commit decides about an update: RAUC's own unit would keep whatever comes up.
    # Nothing logs in at the console, packages do not update themselves, and swap would keep what memory forgets.
    systemctl --root="$root" --quiet mask getty@tty1.service serial-getty@ttyAMA0.service serial-getty@ttyS0.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
        systemd-networkd-wait-online.service ssh.socket wpa_supplicant.service systemd-firstboot.service \
        rauc-mark-good.service swap.target 2>> "$work/enable.log"
    # What has no use here and would take part of each boot: foreign programs, debugging, what a new /var sets off.
    systemctl --root="$root" --quiet mask systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
        sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
        dev-hugepages.mount dev-mqueue.mount systemd-journal-catalog-update.service systemd-update-done.service \
        systemd-network-generator.service 2>> "$work/enable.log"
}

# Smaller, and the same twice: what only a package manager needs, caches, logs, and times of making.
slim() {
    rm -rf "$root"/var/cache/* "$root"/var/log/* "$root"/var/lib/apt/lists/* "$root"/usr/share/locale/* \
        "$root"/usr/share/info/* "$root"/usr/share/lintian "$root"/usr/share/bug "$root"/boot/firmware \
        "$root"/var/lib/dpkg/*-old "$root"/etc/*- "$root"/vmlinuz* "$root"/initrd.img*
    # 17 MB for WebGPU, which Porter never asks for.
    rm -f "$root"/opt/porter/.venv/lib/python3.13/site-packages/ai_edge_litert/libLiteRtWebGpuAccelerator.so
    # Debian's packages compile their modules; Porter's and the wheels' are compiled here, since the root is read-only.
    # What is compiled has its source's time in it, so no source may have the time of its making, which squashfs takes.
    find "$root/opt" "$root/usr/lib/python3" "$root/usr/lib/python3.13" -name '*.py' -newermt "@$SOURCE_DATE_EPOCH" \
        -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    # -I: the builder's own PYTHONDONTWRITEBYTECODE is not meant.
    in_root /opt/porter/.venv/bin/python -I - < "$IMAGE/lib/compile_imported.py" > "$work/compile.log" 2>&1 ||
        failed "compile_imported.py: $(tail -n 3 "$work/compile.log")"
}

boot_files() {
    local boot=$work/boot kernel
    mkdir -p "$boot"
    kernel=$(find "$root/boot" -maxdepth 1 -name 'vmlinuz-*' | sort -V | tail -n 1)
    [ -n "$kernel" ] || failed "no kernel in the root"
    cp "$kernel" "$boot/vmlinuz"
    cp "$root/boot/initrd.img-${kernel##*/vmlinuz-}" "$boot/initrd.img"
    # A Raspberry Pi 4 loads this one unless gpu_mem=16, start_x or start_debug asks for another, a Pi 5 none.
    # https://www.raspberrypi.com/documentation/computers/config_txt.html (boot options)
    [ "$board" != rpi4 ] || cp "$root"/usr/lib/raspi-firmware/{start4.elf,fixup4.dat} "$boot/" ||
        failed "no firmware of a Raspberry Pi 4 in the root" "the package raspi-firmware is missing"
    find "$root"/usr/lib/linux-image-*/ -name 'bcm27*.dtb' -exec cp -t "$boot" {} + 2>/dev/null || true
    local overlays
    overlays=$(find "$root"/usr/lib/linux-image-*/ -type d -name overlays | head -n 1)
    [ -z "$overlays" ] || cp -r "$overlays" "$boot/overlays"
    cp "$IMAGE/boot/config.txt" "$IMAGE/boot/cmdline.txt" "$boot/"
    echo "$version" > "$boot/version.txt"
    rm -rf "$root"/boot/vmlinuz* "$root"/boot/initrd* "$root"/usr/lib/linux-image-* "$root"/usr/lib/raspi-firmware
}

# fat FOLDER FILE MEGABYTES LABEL: a FAT file system with what is in FOLDER.
fat() {
    truncate -s "$3M" "$2"
    mkfs.vfat -F 32 -s 1 --invariant -i "$(printf '%s' "$4" | sha256sum | cut -c1-8)" -n "$4" "$2" > /dev/null
    find "$1" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    [ -z "$(ls -A "$1")" ] || MTOOLS_SKIP_CHECK=1 mcopy -s -p -m -i "$2" "$1"/* ::/
}

data_partition() {
    local data=$work/data
    mkdir -p "$data/etc/porter" "$data/systemd" "$data/rauc" "$data/ssh" "$data/update"
    install -d -m 700 "$data/etc/credstore.encrypted"
    local vision
    vision=$(awk -F: '$1 == "porter-vision" {print $3 ":" $4}' "$root/etc/passwd")
    install -d -m 711 -o "${vision%:*}" -g "${vision#*:}" "$data/porter"
    find "$data" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -t ext4 -L data -d "$data" -m 1 -U "$(uuid data)" \
        -E "hash_seed=$(uuid data-hash),lazy_itable_init=1" "$work/data.ext4" 64M > /dev/null
    # It takes the change times from the builder's disk, where they are always now.
    find "$data" -printf "set_inode_field \"/%P\" ctime @$SOURCE_DATE_EPOCH\nset_inode_field \"/%P\" ctime_extra 0\n" |
        E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f - "$work/data.ext4" > "$work/debugfs.log" 2>&1 ||
        failed "debugfs: $(tail -n 1 "$work/debugfs.log")"
}

# An identifier that is the same for the same image and part.
uuid() {
    printf '%s %s' "$version" "$1" | sha256sum | sed 's/\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\).*/\1-\2-4\3-8\4-\5/'
}

BOOT_MB=128
ROOT_MB=640

card_image() {
    mkdir -p "$work/p1/porter"
    cp "$IMAGE/boot/autoboot.txt" "$work/p1/"
    cp "$IMAGE/boot/README.txt" "$work/p1/porter/"
    [ ${#settings[@]} = 0 ] || settings_main --into "$work/p1/porter" "${settings[@]}"
    fat "$work/p1" "$work/autoboot.vfat" 64 PORTER
    # No larger than it has to be, since all of it is part of each update; FAT32 wants 65,525 clusters, 32 MB of them.
    local size
    size=$(($(du -sm --apparent-size "$work/boot" | cut -f1) * 17 / 16 + 4))
    [ "$size" -le "$BOOT_MB" ] || failed "kernel and initramfs take $size MB, a slot has $BOOT_MB"
    fat "$work/boot" "$work/boot.vfat" "$((size < 40 ? 40 : size))" BOOT
    size=$(stat -c %s "$work/root.squashfs")
    [ "$size" -le $((ROOT_MB * 1048576)) ] || failed "the root takes $((size / 1048576)) MB, a slot has $ROOT_MB"
    local fat=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 arm=B921B045-1DF0-41C3-AF44-4C6F280D3FAE
    cat > "$work/card.cfg" <<X
image card.img {
    hdimage {
        partition-table-type = "gpt"
        align = 4M
        disk-uuid = "$(uuid disk)"
    }
    partition autoboot { image = "autoboot.vfat" partition-type-uuid = "$fat" partition-uuid = "$(uuid p1)" }
    partition boot-a { image = "boot.vfat" partition-type-uuid = "$fat" partition-uuid = "$(uuid p2)" size = ${BOOT_MB}M }
    partition boot-b { partition-type-uuid = "$fat" partition-uuid = "$(uuid p3)" size = ${BOOT_MB}M }
    partition root-a { image = "root.squashfs" partition-type-uuid = "$arm" partition-uuid = "$(uuid p4)" size = ${ROOT_MB}M }
    partition root-b { partition-type-uuid = "$arm" partition-uuid = "$(uuid p5)" size = ${ROOT_MB}M }
    partition data { image = "data.ext4" partition-type-uuid = L partition-uuid = "$(uuid p6)" size = 64M }
}
X
    mkdir -p "$work/nothing"
    genimage --config "$work/card.cfg" --rootpath "$work/nothing" --tmppath "$work/tmp" --inputpath "$work" \
        --outputpath "$work/card" > "$work/genimage.log" 2>&1 || failed "genimage: $(tail -n 3 "$work/genimage.log")"
}

deliver() {
    local name=$out/porter-$version-$board-$flavour
    mv "$work/card/card.img" "$name.img"
    bmaptool --quiet create -o "$name.bmap" "$name.img"
    zstd -q -f -T0 -3 "$name.img" -o "$name.img.zst"
    cp "$work/root.squashfs" "$name.root.squashfs"
    cp "$work/boot.vfat" "$name.boot.vfat"
    printf '%s\n%s\n' "porter-$board-$flavour" "$version" > "$name.compatible"
    # Not with --fast: nothing was set up, so dpkg has no list.
    [ -n "$fast" ] || (cd "$root" && awk '/^Package:/ {p=$2} /^Version:/ {print p "=" $2}' var/lib/dpkg/status) | sort > "$name.packages"
    (cd "$out" && sha256sum "${name##*/}".img.zst "${name##*/}".img "${name##*/}".bmap > "${name##*/}.sha256")
    say "$name.img.zst: $(($(stat -c %s "$name.img.zst") / 1048576)) MB, SHA-256 $(sha256sum < "$name.img.zst" | cut -c1-16)..."
    echo "Next: ./flash.sh write --image $name.img.zst /dev/sdX"
}

build_main() {
    build_defaults
    build_options "$@"
    build_checks
    # The time of the commit: the same checkout and packages give the same image.
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$HERE" log -1 --format=%ct 2>/dev/null || echo 1700000000)}
    work=$(mktemp -d -p "$cache" work.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    root=$work/root
    base_root
    say "Porter $version"
    mkdir "$root"
    tar -C "$root" -xf "$base"
    install_system
    install_porter
    install_debs
    slim
    boot_files
    say "file systems"
    mksquashfs "$root" "$work/root.squashfs" -quiet -no-progress -comp zstd -Xcompression-level "$([ -n "$fast" ] && echo 3 || echo 15)" -no-exports -wildcards -e 'proc/*' 'sys/*' 'dev/*' 'run/*' 'tmp/*' \
        > "$work/squashfs.log" 2>&1 || failed "mksquashfs: $(tail -n 3 "$work/squashfs.log")"
    data_partition
    card_image
    deliver
}
