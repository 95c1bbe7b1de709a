#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh ROOT REPOSITORY FRAMES, in a mount namespace of its own: Porter into a copy-on-write view of ROOT, and boot.
set -eu
root=$1 repository=$2 frames=$3
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/up /run/work /run/porter
mount -t overlay overlay -o "lowerdir=$root,upperdir=/run/up,workdir=/run/work" /run/porter
cd /run/porter

install -D -m 644 -t etc/systemd/system "$repository"/systemd/*.service "$repository"/systemd/*.socket \
    "$repository"/systemd/*.target
cp -r "$repository"/systemd/*.service.d etc/systemd/system/
install -D -m 644 -t etc/udev/rules.d "$repository"/systemd/udev.rules.d/*.rules
install -D -m 644 "$repository/systemd/sysusers.d/porter.conf" etc/sysusers.d/porter.conf
install -D -m 644 "$repository/systemd/tmpfiles.d/porter.conf" etc/tmpfiles.d/porter.conf
mkdir -p etc/systemd/system/multi-user.target.wants opt/porter/.venv/bin
ln -s /etc/systemd/system/porter.target etc/systemd/system/multi-user.target.wants/porter.target
printf '#!/opt/porter/.venv/bin/python\nimport sys\nfrom device.cli import main\nsys.exit(main())\n' > opt/porter/.venv/bin/porter
chmod 755 opt/porter/.venv/bin/porter
echo /opt/porter > opt/porter/.venv/lib/python3.13/site-packages/porter.pth
install -D -m 644 "$repository/tests/appliance/porter.yaml" etc/porter/porter.yaml
install -D -m 644 "$repository/tests/appliance/checks.service" etc/systemd/system/checks.service
ln -s /etc/systemd/system/checks.service etc/systemd/system/multi-user.target.wants/checks.service
printf 'listener 1883 127.0.0.1\nallow_anonymous false\npassword_file /etc/mosquitto/passwords\n' > etc/mosquitto/conf.d/porter.conf
mkdir -p var/lib/porter
cp -r "$frames" var/lib/porter/frames
chmod -R a+rX var/lib/porter/frames
rm -f etc/machine-id
: > etc/machine-id

set -- --quiet --register=no --keep-unit --private-network --boot -D /run/porter
for folder in device models config tests; do
    mkdir -p "opt/porter/$folder"
    set -- "$@" "--bind-ro=$repository/$folder:/opt/porter/$folder"
done
exec systemd-nspawn "$@"
