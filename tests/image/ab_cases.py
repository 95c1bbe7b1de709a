# SPDX-License-Identifier: Apache-2.0
"""The cases of `make image-ab`."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

from tests.image import variants
from tests.image.card import partitions, put_fat_file
from tests.image.checks import (
    FRAMES,
    Rig,
    somebody_enrols_over_the_control_socket_and_is_matched_at_the_broker,
)
from tests.image.field import BOOT_S, POLL_S
from tests.image.owner import NOBODY, run
from tests.image.variants import Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.image.field import Field

GOOD = Variant("0.0.2+test")
WITHOUT_DETECTOR = Variant("0.0.3+test", variants.without_detector)
WITHOUT_FRAMES = Variant("0.0.4+test", variants.camera_that_never_gives_a_frame)
HANGING = Variant("0.0.5+test", variants.first_process_that_dies)
PANICKING = Variant("0.0.6+test", boot=variants.initramfs_cut_short)
IMPATIENT = Variant("0.0.7+test", variants.impatient)
OLDER = Variant("0.0.0+test", None)
FOREIGN = Variant("0.0.8+test", None, key="foreign")
RENAMING = Variant("0.0.9+test", variants.option_with_a_new_name)

# What the console says on a first boot, and how many seconds after that the power goes.
FIRST_BOOT_MOMENTS = (
    ("Run /init", 0),
    ("systemd\\[1\\]: Detected architecture", 0),
    ("porter-first-boot|Porter: settings", 1),
)
# What porter update prints, how many seconds after that the power goes, and what is left of autoboot.txt where that
# boot finds it torn: each torn length is a unit test of the firmware's rules and of the backend, here the card has it.
MOMENTS = (
    ("0 %", 0, None),
    ("50 %", 8, b"[all]\ntryboot_a_b=1\nboot_part"),
    ("80 %", 0, None),
    ("80 %", 3, b"\0" * 64),
    ("installed;", 0, None),
)
# What the console says in a boot that tries an update, and how many seconds after that the power goes: it runs, and has
# remembered that it is tried. A power cut before that is no other than the kernel's panic below.
TRIAL_MOMENT = ("Starting .*porter-commit", 5)
cuts: list[str] = []
enrolled = threading.Event()


def cut(field: Field, what: str) -> None:
    """The power of it is gone; counted."""
    field.machine.kill()
    cuts.append(f"{field.name}: {what}")
    field.say(f"power cut {len(cuts)}: {what}")


def tear(field: Field, left: bytes) -> None:
    """The card has that for its autoboot.txt."""
    file = field.folder / "autoboot.txt"
    file.write_bytes(left)
    put_fat_file(field.card, partitions(field.card)[1], file, "autoboot.txt")


def first_boots_that_lose_their_power(field: Field) -> str:
    """The card is new: the data partition grows, keys are made, settings are taken. The next boot goes on."""
    for pattern, seconds in FIRST_BOOT_MOMENTS:
        field.machine.start()
        field.machine.wait_line(pattern, BOOT_S)
        time.sleep(seconds)
        cut(field, f"a first boot, {seconds} s after {pattern!r}")
    assert field.up() == "a"
    field.machine.wait(lambda: "online" if "online" in field.owner.said("/status") else "", "online", BOOT_S)
    left = set(field.ssh("sudo ls /boot/autoboot/porter").split())
    # wifi.conf is wrong on purpose.
    assert left == {"README.txt", "problems.txt", "wifi.conf"}, left
    return f"{len(FIRST_BOOT_MOMENTS)} moments, then online"


def somebody_enrols(field: Field) -> str:
    """So that there is a gallery that no update may lose."""
    try:
        rig = Rig(field.machine, field.owner)
        return somebody_enrols_over_the_control_socket_and_is_matched_at_the_broker(rig)
    finally:
        enrolled.set()


def updates_that_are_not_for_this_device_are_refused(field: Field) -> str:
    """Before anything is written: signed by another, older, cut short, not there."""
    before = field.identity()
    short = field.folder / "short.raucb"
    short.write_bytes(field.bundle(GOOD).read_bytes()[:3_000_000])
    refused = {
        "signed by another": (field.url(FOREIGN), "no update that this device takes"),
        "older": (field.url(OLDER), "is older than"),
        "cut short": (field.url(short), "no update that this device takes"),
        "not there": (field.url(field.folder / "nothing.raucb"), "no update that this device takes"),
    }
    for what, (url, expected) in refused.items():
        said = field.ssh(f"sudo porter update {url} 2>&1; echo code=$?", seconds=300)
        assert expected in said, (what, said)
        assert "code=2" in said, (what, said)
    assert field.identity() == before
    assert "no update was installed" in field.status()
    return f"{len(refused)} refused"


def installs_that_lose_their_power(field: Field) -> str:
    """The power goes at each moment of an install; each time the old system is there, and nothing is lost."""
    before = field.identity()
    for moment, seconds, torn in MOMENTS:
        said = field.install_until(GOOD, moment)
        time.sleep(seconds)
        cut(field, f"an install, {seconds} s after {said!r}{', autoboot.txt torn' if torn else ''}")
        if torn:
            tear(field, torn)
        assert field.up() == "a", moment
        assert field.identity() == before, moment
        field.well()
    return f"{len(MOMENTS)} moments, slot a runs after each, after two with a torn autoboot.txt"


def a_trial_that_loses_its_power(field: Field) -> str:
    """Installed, rebooted, and the power goes before anything was decided."""
    before = field.identity()
    field.install(GOOD)
    field.reboot()
    field.machine.start()
    assert field.machine.partition == 3
    pattern, seconds = TRIAL_MOMENT
    field.machine.wait_line(pattern, BOOT_S)
    time.sleep(seconds)
    cut(field, f"a boot that tries an update, {seconds} s after {pattern!r}")
    assert field.up() == "a"
    assert field.identity() == before
    field.wait_status("fell back")
    field.well()
    return field.last()


def a_card_that_lost_its_data_partition_is_tried_again(field: Field) -> str:
    """Nobody can log in to an emergency shell, and the watchdog would never notice: it restarts by itself."""
    field.reboot(power_off=True)
    label = ["sfdisk", "--quiet", "--part-label", str(field.card), "6"]
    run(*label, "elsewhere")
    try:
        field.machine.start()
        began = time.monotonic()
        assert field.machine.wait_off(BOOT_S + 600), "it went off"
        seconds = time.monotonic() - began
        field.machine.wait_line("starts again in two minutes", 1)
    finally:
        field.machine.kill()
        run(*label, "data")
    assert field.up() == "a"
    return f"starts again after {seconds:.0f} s"


def falls_back(field: Field, variant: Variant, why: str) -> str:
    """Installs it, tries it, waits until it has given up by itself; the old system says why."""
    before = field.identity()
    field.install(variant)
    field.reboot()
    began = time.monotonic()
    field.machine.start()
    assert field.machine.partition == 3
    field.machine.wait_off(900)
    seconds = time.monotonic() - began
    assert field.up() == "a"
    assert field.identity() == before
    field.wait_status("fell back")
    assert why in field.last(), field.last()
    return f"back after {seconds:.0f} s; {field.last()}"


def an_update_whose_kernel_finds_no_root_goes_back(field: Field) -> str:
    """It panics, and the panic reboots."""
    return falls_back(field, PANICKING, "did not come up")


def an_update_that_hangs_goes_back(field: Field) -> str:
    """systemd is gone and nothing feeds the hardware watchdog any more: QEMU's, in place of the board's."""
    return falls_back(field, HANGING, "did not come up")


def an_update_whose_service_does_not_start_goes_back(field: Field) -> str:
    """At once: systemd has given up on it."""
    return falls_back(field, WITHOUT_DETECTOR, "porter-vision")


def an_update_that_sees_nothing_goes_back(field: Field) -> str:
    """Both services run, and the camera gives no frame."""
    return falls_back(field, WITHOUT_FRAMES, "no frame")


def an_update_that_loses_the_broker_goes_back(field: Field) -> str:
    """The broker was reached before, and is not with the update."""
    field.machine.wait(
        lambda: "ok" if "connected" in field.ssh("sudo porter status", good=False) else "",
        "the broker",
        field.machine.uptime_s() + BOOT_S,
        every_s=POLL_S,
    )
    before = field.identity()
    field.install(IMPATIENT)
    field.owner.stop_broker()
    try:
        field.reboot()
        field.machine.start()
        assert field.machine.partition == 3
        field.machine.wait_off(900)
        assert field.up() == "a"
    finally:
        field.owner.start_broker()
    assert field.identity() == before
    field.wait_status("fell back")
    assert "broker" in field.last(), field.last()
    return field.last()


def an_update_with_a_new_name_for_an_option_is_kept_and_writes_it_then(field: Field) -> str:
    """Installed, tried, kept, and the power fails as it is; it boots again, with all that was there.

    The new name is written no earlier, and the old file stays beside it.
    """
    before, names = field.identity(names=False), field.identity()
    old = field.ssh("cat /etc/porter/porter.yaml")
    field.install(RENAMING)
    field.reboot()
    assert field.up() == "b"
    assert field.identity() == names
    field.machine.wait_line("update_kept", BOOT_S)
    heard = len(field.owner.heard("/match"))
    cut(field, "autoboot.txt was just written by porter commit, which may not have remembered that yet")
    assert field.up() == "b"
    field.wait_status(": kept")
    assert field.identity(names=False) == before
    assert field.ssh("cat /etc/porter/porter.yaml") == re.sub(r"(motion:\s+)enabled", r"\1gate", old)
    assert field.ssh("cat /etc/porter/porter.yaml.before-*") == old
    again = lambda: str(field.owner.heard("/match")[heard:] or "")  # noqa: E731  a wait asks a function
    field.machine.wait(again, "a match", field.machine.uptime_s() + BOOT_S)
    # Nobody is there any more: faces would take half of a core from all the cases to come.
    # sync: the next case cuts the power.
    field.ssh(f"sudo cp {NOBODY.path} {FRAMES}/ && sudo rm {FRAMES}/*.jpg && sync")
    return f"slot b: {field.last()}; matched again"


def an_autoboot_txt_torn_after_that_heals(field: Field) -> str:
    """The first slot boots, whose old version does not even know the new name; it goes back to what was kept."""
    before = field.identity()
    cut(field, "autoboot.txt torn while the second slot was the one that boots")
    tear(field, b"[all]\n")
    field.machine.start()
    assert field.machine.partition == 2
    assert field.machine.wait_off(BOOT_S), "it went off"
    field.machine.wait_line("autoboot_lost", 1)
    assert field.up() == "b"
    field.wait_status(": kept")
    assert field.identity() == before
    field.well()
    return f"slot b: {field.last()}"


def a_downgrade_wants_a_word_and_takes_the_old_names_back(field: Field) -> str:
    """The older version knows the file again."""
    said = field.ssh(f"sudo porter update {field.url(GOOD)} 2>&1; echo code=$?", seconds=300)
    assert "is older than" in said, said
    assert "code=2" in said, said
    field.install(GOOD, "--allow-downgrade")
    field.reboot()
    slot = field.up()
    field.wait_status(": kept")
    assert re.search(r"motion:\s+enabled:", field.ssh("cat /etc/porter/porter.yaml"))
    return f"slot {slot}: {field.last()}"


# Each goes on from what the one before left.
LANES: dict[str, tuple[Callable[[Field], str], ...]] = {
    "power": (
        first_boots_that_lose_their_power,
        installs_that_lose_their_power,
        a_trial_that_loses_its_power,
    ),
    "updates": (
        somebody_enrols,
        updates_that_are_not_for_this_device_are_refused,
        an_update_with_a_new_name_for_an_option_is_kept_and_writes_it_then,
        an_autoboot_txt_torn_after_that_heals,
        a_downgrade_wants_a_word_and_takes_the_old_names_back,
    ),
    "waiting": (a_card_that_lost_its_data_partition_is_tried_again,),
}
# For whichever of the first two has time: any device that is on will do, the longest comes first. Not for the third,
# which costs nothing while it waits: three emulators at work on two cores each took a quarter more of a core.
POOL: tuple[Callable[[Field], str], ...] = (
    an_update_that_sees_nothing_goes_back,
    an_update_that_loses_the_broker_goes_back,
    an_update_whose_service_does_not_start_goes_back,
    an_update_that_hangs_goes_back,
    an_update_whose_kernel_finds_no_root_goes_back,
)
