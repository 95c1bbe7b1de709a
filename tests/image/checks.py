# SPDX-License-Identifier: Apache-2.0
"""What a freshly flashed device must do, one check after the other; each goes on from what the one before left."""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.demo_scenes import write_scene
from tests.image.owner import SLOW_HZ

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.image.machine import Machine
    from tests.image.owner import Owner

CHECKS: list[Callable[[Rig], str]] = []
ONLINE_S = 400.0
POLICY = b"A test's own portrait, in the public domain, enrolled into a system that is thrown away.\n"
FRAMES = "/var/lib/porter/frames"


@dataclass(frozen=True, slots=True)
class Rig:
    """A device and its owner."""

    machine: Machine
    owner: Owner

    def ssh(self, command: str, **options: object) -> str:
        """Runs it on the device as admin."""
        return self.machine.ssh(self.owner.key, command, **options)  # type: ignore[arg-type]


def check(function: Callable[[Rig], str]) -> Callable[[Rig], str]:
    """Run in the order in which they stand here."""
    CHECKS.append(function)
    return function


@check
def it_boots_takes_the_settings_and_reports_to_the_broker_over_tls(rig: Rig) -> str:
    rig.machine.wait(lambda: "online" if "online" in rig.owner.said("/status") else "", "online", ONLINE_S)
    online = rig.machine.uptime_s()
    rig.machine.wait(lambda: "up" if rig.machine.open_ssh() else "", "ssh", ONLINE_S)
    rig.machine.wait(
        lambda: rig.ssh("systemctl is-active porter-vision porter-forward && echo up", good=False).partition(
            "up"
        )[1],
        "both services",
        ONLINE_S,
    )
    return f"online {online:.0f} s after power-on"


@check
def nothing_failed(rig: Rig) -> str:
    failed = rig.ssh("systemctl --failed --plain --no-legend", good=False)
    # The settings carry one file that is wrong, on purpose, and its unit says so.
    others = [line for line in failed.splitlines() if "porter-first-boot" not in line]
    assert not others, failed
    return "only the wrong settings file"


@check
def the_settings_left_the_card_but_for_the_wrong_one(rig: Rig) -> str:
    names = set(rig.ssh("sudo ls /boot/autoboot/porter").split())
    assert names == {"README.txt", "problems.txt", "wifi.conf"}, names
    problems = rig.ssh("sudo cat /boot/autoboot/porter/problems.txt")
    assert "wifi.conf" in problems
    assert "without its }" in problems, problems
    sealed = set(rig.ssh("sudo ls /etc/credstore.encrypted").split())
    assert sealed == {
        "porter.device-key",
        "porter.mqtt-ca",
        "porter.mqtt-password",
        "porter.mqtt-username",
    }, sealed
    everywhere = rig.ssh(
        "sudo grep -rlF 'swordfish' /data /etc /run/porter /var/lib 2>/dev/null; true", seconds=400
    )
    assert not everywhere.strip(), everywhere
    return f"{len(sealed)} sealed credentials, {problems.strip()}"


@check
def the_root_is_read_only_and_the_data_partition_has_the_card(rig: Rig) -> str:
    mounts = rig.ssh("findmnt -rno TARGET,FSTYPE,OPTIONS")
    found = {line.split()[0]: line.split()[1:] for line in mounts.splitlines()}
    assert found["/"][0] == "squashfs", mounts
    assert "ro" in found["/"][1].split(","), mounts
    assert found["/var"][0] == "tmpfs", mounts
    assert "ro" in found["/boot/autoboot"][1].split(","), mounts
    data_mb = int(rig.ssh("df --output=size -BM /data | tail -n 1").strip().rstrip("M"))
    assert data_mb > 1000, data_mb
    assert rig.ssh("sudo touch /usr/here 2>&1 || echo refused").endswith("refused\n")
    assert rig.ssh("cat /proc/swaps | wc -l").strip() == "1"
    return f"/data has {data_mb} MB"


@check
def no_password_opens_it_and_no_port_but_ssh(rig: Rig) -> str:
    shadow = rig.ssh("sudo cut -d: -f2 /etc/shadow").split()
    assert all(re.fullmatch(r"[!*]+", each) for each in shadow), shadow
    said = rig.ssh("sudo sshd -T | grep -E '^(passwordauthentication|permitrootlogin|kbdinteractive)'")
    assert "passwordauthentication no" in said, said
    assert "permitrootlogin no" in said, said
    ports = {
        line.split()[4].rsplit(":", 1)[1] for line in rig.ssh("ss -Htuln | grep -v 127.0.0").splitlines()
    }
    # 68: the answer to our own question for an address; 5353: HOSTNAME.local.
    assert ports <= {"22", "68", "546", "5353"}, ports
    assert "22" in ports
    return f"ports {', '.join(sorted(ports))}"


@check
def it_has_the_name_and_the_time_zone_of_the_card(rig: Rig) -> str:
    assert rig.ssh("hostname").strip() == "front-door"
    assert rig.ssh("date +%Z").strip() in {"CET", "CEST"}
    assert "front-door" in rig.ssh("resolvectl mdns; hostname")
    machine_id = rig.ssh("cat /etc/machine-id").strip()
    assert re.fullmatch("[0-9a-f]{32}", machine_id)
    assert machine_id == rig.ssh("cat /data/machine-id").strip()
    # As if the initramfs had not been able to read it: systemd would delete the key of all sealed credentials.
    other = (
        f"echo {'0' * 31}1 | sudo tee /run/other > /dev/null; sudo mount --bind /run/other /etc/machine-id"
    )
    assert (
        rig.ssh(f"{other}; sudo /usr/lib/porter/machine-id 2>&1; cat /etc/machine-id").split()[-1]
        == machine_id
    )
    assert rig.ssh("systemctl is-active porter-machine-id").strip() == "active"
    rig.ssh("sudo umount /etc/machine-id; sudo umount /etc/machine-id; sudo rm /run/other")
    assert rig.ssh("cat /etc/machine-id").strip() == machine_id
    return machine_id[:6] + "..."


@check
def somebody_enrols_over_the_control_socket_and_is_matched_at_the_broker(rig: Rig) -> str:
    with tempfile.TemporaryDirectory() as folder:
        frames = write_scene(Path(folder) / "frames", "astronaut", width_px=640, height_px=480, face_px=160)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(frames, arcname="frames")
    rig.ssh(f"sudo mkdir -p {FRAMES} && sudo tar -C /var/lib/porter -xf -", given=packed.getvalue())
    yaml = "/etc/porter/porter.yaml"
    rig.ssh(f"sudo chown -R porter-vision: {FRAMES} && sudo sed -i 's#path: .*#path: {FRAMES}#' {yaml}")
    rig.ssh("sudo systemctl restart porter-vision", seconds=400)
    rig.ssh("cat > policy.md", given=POLICY)
    rig.machine.wait(
        lambda: rig.ssh("porter status 2>&1 | grep -i camera", good=False),
        "the camera",
        rig.machine.uptime_s() + 240,
    )
    said = rig.ssh("porter enrol --label test --policy policy.md --yes --json", seconds=600)
    rig.machine.wait(lambda: str(rig.owner.heard("/match") or ""), "a match", rig.machine.uptime_s() + 300)
    # From here on it is looked at rarely, and waited for often; a frame a second or two leaves no time for that.
    rig.ssh(f"sudo sed -i 's/rate_hz: .*/rate_hz: {SLOW_HZ}/' {yaml} && sudo systemctl reload porter-vision")
    event = rig.owner.heard("/match")[0]
    assert (event["event_type"], event["phase"], event["delivery"]) == ("match", "start", "live")
    assert set(event["person"]) == {"ref"}
    result = json.loads(said.splitlines()[-1])
    return f"score {event['score']}, {len(result)} fields of the enrolment's result"


@check
def the_process_that_sees_has_no_network_here_either(rig: Rig) -> str:
    pid = rig.ssh("systemctl show -P MainPID porter-vision").strip()
    sockets = rig.ssh(f"sudo ss -Htunap | grep -c pid={pid}, ; true").strip()
    assert sockets == "0", sockets
    found = []
    for service in ("porter-vision", "porter-forward"):
        said = rig.ssh(f"systemd-analyze security --no-pager {service}.service", seconds=400)
        level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert level is not None, said[-300:]
        found.append(float(level[1]))
    assert max(found) <= 1.5, found
    return f"exposure {found}"


@check
def the_forwarder_finds_the_gallery_nowhere_and_files_belong_to_fixed_numbers(rig: Rig) -> str:
    assert "gallery.sqlite" in rig.ssh("sudo ls -A /data/porter")
    pid = rig.ssh("systemctl show -P MainPID porter-forward").strip()
    # As root, whom no mode stops: what is not in its view of the disk is not there.
    seen = rig.ssh(
        f"sudo nsenter --target {pid} --mount ls -A /data/porter /var/lib/porter /data/ssh 2>&1; true"
    )
    assert "gallery" not in seen, seen
    assert "ssh_host" not in seen, seen
    assert "shared" in seen, seen
    # An update with other packages must not give the data partition's files to somebody else.
    users = "porter-vision porter-forward porter-console"
    assert rig.ssh(f"for each in {users}; do id -u $each; done").split() == ["950", "951", "952"]
    return " ".join(seen.split())


@check
def identify_lets_the_boards_led_blink(rig: Rig) -> str:
    """A real LED class, driver, udev and sandbox; only the LED itself is a pin of QEMU's."""
    led = "/sys/class/leds/ACT"
    assert rig.ssh(f"readlink -f {led}").strip() == "/sys/devices/platform/leds/leds/ACT"
    modes = rig.ssh(f"stat -c '%a %G %n' {led}/trigger {led}/brightness").splitlines()
    assert [line.rsplit("/", 1)[0].split()[:2] for line in modes] == [
        ["664", "porter-forward"],
        ["644", "root"],
    ]
    look = "import os, sys; print(*(p for p in sys.argv[1:] if not os.statvfs(p).f_flag & os.ST_RDONLY))"
    shut = "/sys/class /sys/devices /sys/fs/cgroup /sys/kernel /sys/kernel/debug /sys/module /sys/power /proc/sys"
    leds = "/sys/devices/platform/leds"
    for name in ("porter-forward", "porter-vision", "porter-console"):
        pid = rig.ssh(f"systemctl show -P MainPID {name}").strip()
        seen = rig.ssh(f"sudo nsenter -t {pid} -m /usr/bin/python3 -c '{look}' {shut} {leds}").split()
        assert seen == ([leds] if name == "porter-forward" else []), (name, seen)
    assert "[heartbeat]" in rig.ssh(f"cat {led}/trigger")
    # Watched from inside: ssh takes seconds here.
    watch = f"""end=$(($(date +%s) + 60)); blinked=; cd {led}
        while [ "$(date +%s)" -lt $end ]; do
            read -r trigger < trigger; read -r light < brightness
            case $trigger in
            *"[timer]"*) echo "timer $light"; blinked=1 ;;
            *"[heartbeat]"*) echo heartbeat; [ -z "$blinked" ] || break ;;
            esac
            sleep 0.2
        done"""
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(rig.ssh, watch, seconds=120)
        rig.owner.publish("cmd/identify")
        said = watching.result().split("\n")
    blinks = [line.split()[1] for line in said if line.startswith("timer")]
    assert len(set(blinks)) == 2, said
    assert "heartbeat" in said[said.index(f"timer {blinks[0]}") :], "it did not end"
    result = rig.owner.heard("/cmd/identify/result")[-1]
    assert result["ok"], result
    return f"brightness {' '.join(blinks)}"


@check
def the_screen_shows_the_device_and_nobody(rig: Rig) -> str:
    """The first virtual terminal: HDMI where there is one; the kernel keeps its text where there is none, too."""

    def screen() -> str:
        cells = rig.ssh("sudo cat /dev/vcs1")
        return "\n".join(cells[n : n + 80].rstrip() for n in range(0, len(cells), 80)).rstrip()

    words = (
        "PORTER     door-1",
        "name       front-door.local",
        "10.0.2.15",
        "slot a",
        " enrolled",
        ", connected",
    )
    page = rig.machine.wait(
        lambda: text if all(word in (text := screen()) for word in words) else "",
        f"a page with {words}",
        rig.machine.uptime_s() + 300,
    )
    assert re.search(r"clock .* (CET|CEST), ", page), page
    refs = re.findall(r"p_[0-9a-f]+", rig.ssh("porter subjects", good=False))
    assert not [ref for ref in refs if ref in page], page
    assert rig.ssh("systemctl is-active getty@tty1", good=False).strip() == "inactive"
    said = rig.ssh("systemd-analyze security --no-pager porter-console.service", seconds=400)
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert level is not None, said[-300:]
    assert float(level[1]) <= 1.5, level[1]
    return page.replace("\n", " | ")


@check
def rauc_knows_the_slot_that_runs_and_only_porter_decides_about_updates(rig: Rig) -> str:
    assert rig.ssh("systemctl is-enabled rauc-mark-good", good=False).strip() == "masked"
    # By the boot partition alone: a root= on the command line would be the same in both slots.
    assert "root=" not in rig.ssh("cat /proc/cmdline")
    # What porter commit asks before it takes autoboot.txt for damaged.
    assert rig.ssh("sudo /usr/lib/porter/tryboot-backend named").strip() == "2"
    # Loaded at boot: else udev looks at its devices just while RAUC connects one for a bundle from a URL.
    assert rig.ssh("cat /sys/module/nbd/parameters/nbds_max").strip() == "2"
    found = json.loads(rig.ssh("sudo porter update --status --json"))
    assert (found["booted"], found["primary"], found["trial"], found["last"]) == ("a", "a", False, None)
    decided = rig.ssh("systemctl is-active porter-commit", good=False).strip()
    assert decided == "active", f"{decided}: was the image built with --keyring? Without, it takes no update"
    return str(found)


@check
def the_doctor_finds_nothing_wrong_but_what_the_test_itself_is(rig: Rig) -> str:
    """An emulator has no time server, and is slower than the checks' limits; the certificates here live for days."""
    ours = re.compile("clock|ends on|did not come to its end|no answer within|said nothing for")
    counts = []
    for command in ("sudo porter doctor --json", "porter doctor --json"):
        report = json.loads(rig.ssh(command, good=False, seconds=400))
        bad = [each for each in report["findings"] if each["level"] == "wrong" and not ours.search(str(each))]
        assert not bad, (command, bad)
        counts.append(report["counts"])
        if command.startswith("sudo"):
            said = " | ".join(each["text"] for each in report["findings"])
            # The authority is a credential, sealed on the data partition: root can look at it, and at TLS by it.
            assert "the credential porter.mqtt-ca ends on" in said or "did not come" in said, said
            assert "slot a runs, and boots next" in said or re.search("rauc: no answer|did not come", said), (
                said
            )
            assert "is as narrow as it was shipped" in said or "did not come" in said, said
    return f"{counts}, by root and by admin"


@check
def the_first_frame_came_in_time(rig: Rig) -> str:
    lines = rig.ssh(
        "journalctl -b -o short-monotonic --no-pager -u porter-vision -u porter-forward"
    ).splitlines()
    found = {}
    for name in ("first_frame", "connected"):
        match = next((line for line in lines if re.search(rf"\b{name}\b", line)), "")
        assert match, (name, lines[:10])
        found[name] = float(re.search(r"\[\s*([\d.]+)", match)[1])  # type: ignore[index]
    return ", ".join(f"{name} {seconds:.0f} s after the kernel's start" for name, seconds in found.items())
