# SPDX-License-Identifier: Apache-2.0
"""What the doctor says of clock, disk, power, board and zone, each on a made-up tree, right and wrong."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device.adapters.board_pi import TRYBOOT_SINCE_S, board_model, bootloader_built_s, built_on, knows_tryboot
from device.adapters.clock import ManualClock
from device.adapters.vitals_linux import LinuxVitals
from device.checkup.clock import TIME_SERVICES, clock_findings
from device.checkup.disk import disk_findings
from device.checkup.host import Host, Said, ScriptedCommands
from device.checkup.power import power_findings
from device.checkup.zone import zone_findings
from device.options import CameraOptions, ZoneOptions
from device.payloads import Reading
from device.ports import VitalSigns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from device.checkup.finding import Finding

PI = "Raspberry Pi 4 Model B Rev 1.5"
ACTIVE = "\n".join(["active", *["inactive"] * (len(TIME_SERVICES) - 1)])
NOW = ManualClock().now()


def tree(root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def host(root: Path, answers: Mapping[str, Said | str] | None = None) -> Host:
    return Host(root=root, run=ScriptedCommands(answers or {}), root_user=True)


def wrong(findings: Iterable[Finding]) -> list[str]:
    """The texts of what is wrong; each must say what to do."""
    bad = [each for each in findings if each.level == "wrong"]
    assert all(each.hint for each in bad), bad
    return [each.text for each in bad]


def said(findings: Iterable[Finding], level: str) -> str:
    return " | ".join(each.text for each in findings if each.level == level)


# --- clock


def test_a_synchronised_clock_with_a_service_is_well(tmp_path: Path) -> None:
    found = list(clock_findings(host(tmp_path, {"systemctl": Said(3, ACTIVE)}), tmp_path, NOW))
    assert [each.level for each in found] == ["ok", "ok"]
    assert found[0].text == "the clock says 2026-11-23T04:20 UTC, synchronised"
    assert found[1].text == "systemd-timesyncd sets it"


def test_a_clock_behind_what_was_seen_before_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "last-seen").touch()
    later = NOW.utc_ns + 3600 * 10**9
    os.utime(tmp_path / "last-seen", ns=(later, later))
    assert "it was 2026-11-23T05:20 here before" in wrong(clock_findings(host(tmp_path), tmp_path, NOW))[0]


def test_a_clock_before_porter_or_not_synchronised_is_wrong(tmp_path: Path) -> None:
    ancient = ManualClock(utc_ns=10**18).now()
    assert "before there was a Porter" in wrong(clock_findings(host(tmp_path), tmp_path, ancient))[0]
    loose = ManualClock(synced=False).now()
    assert "is not synchronised" in wrong(clock_findings(host(tmp_path), tmp_path, loose))[0]


def test_no_time_service_and_no_answer_about_it_are_notes(tmp_path: Path) -> None:
    none = host(tmp_path, {"systemctl": Said(3, "inactive\n" * len(TIME_SERVICES))})
    assert said(clock_findings(none, tmp_path, NOW), "note") == "no time service that is known runs here"
    assert "is not known" in said(clock_findings(host(tmp_path), tmp_path, NOW), "note")


# --- disk

MOUNTINFO = """\
22 1 179:2 / / ro,relatime shared:1 - squashfs /dev/mmcblk0p4 ro
30 22 179:6 / /data rw,noatime shared:2 - ext4 /dev/mmcblk0p6 rw
31 22 179:6 /porter /var/lib/porter rw,noatime shared:2 - ext4 /dev/mmcblk0p6 rw
"""
SD = {
    "sys/block/mmcblk0/device/type": "SD\n",
    "sys/block/mmcblk0/device/name": "SD64G\n",
    "sys/fs/ext4/mmcblk0p6/errors_count": "0\n",
    "sys/fs/ext4/mmcblk0p6/lifetime_write_kbytes": "12345678\n",
    "sys/fs/ext4/features/lazy_itable_init": "supported\n",
    "proc/self/mountinfo": MOUNTINFO,
    "var/lib/porter/here": "",
    "data/here": "",
}


def space(share: float, total_mb: int = 10_000) -> os.statvfs_result:
    blocks = total_mb * 1_000_000 // 4096
    free = int(blocks * share)
    return os.statvfs_result((4096, 4096, blocks, free, free, 1000, 1000, 1000, 0, 255))


def look_at_disk(root: Path, share: float = 0.5) -> list[Finding]:
    return list(disk_findings(host(root), root / "var/lib/porter", lambda _: space(share)))


def test_a_card_with_room_is_well_and_says_that_it_knows_nothing_of_its_wear(tmp_path: Path) -> None:
    tree(tmp_path, SD)
    found = look_at_disk(tmp_path)
    assert not wrong(found)
    well = said(found, "ok")
    assert "(ext4 on /dev/mmcblk0p6) has 4,999 MB free, 50%" in well
    assert well.count("MB free") == 1, "one file system, mounted twice"
    assert "mmcblk0p6: 0 errors of the file system, 12 GB written since it was made" in well
    assert said(found, "note") == "mmcblk0 (SD64G) is an SD card, and those say nothing of their wear"


def test_a_full_disk_is_wrong(tmp_path: Path) -> None:
    tree(tmp_path, SD)
    assert "has 299 MB free, 3%" in wrong(look_at_disk(tmp_path, 0.03))[0]


def test_a_file_system_that_went_read_only_is_wrong(tmp_path: Path) -> None:
    # After an error only the file system's own options say so, not the mount's.
    tree(tmp_path, {**SD, "proc/self/mountinfo": MOUNTINFO.replace("mmcblk0p6 rw", "mmcblk0p6 ro")})
    assert "is mounted read-only" in wrong(look_at_disk(tmp_path))[0]


def test_counted_errors_are_wrong(tmp_path: Path) -> None:
    tree(tmp_path, {**SD, "sys/fs/ext4/mmcblk0p6/errors_count": "3\n"})
    assert wrong(look_at_disk(tmp_path)) == [
        "mmcblk0p6: 3 errors of the file system, 12 GB written since it was made"
    ]


@pytest.mark.parametrize(
    ("life", "spare", "level", "words"),
    [
        ("0x01 0x02", "0x01", "ok", "at most 20 % of its life is used"),
        ("0x0a 0x01", "0x01", "wrong", "at most 100 % of its life is used"),
        ("0x0b 0x0b", "0x01", "wrong", "beyond its rated life"),
        ("0x03 0x03", "0x02", "wrong", "most of its spare blocks are"),
        ("0x03 0x03", "0x03", "wrong", "its spare blocks run out"),
        ("0x00 0x00", "0x00", "note", "says nothing of its wear"),
    ],
)
def test_an_emmc_says_how_worn_it_is(tmp_path: Path, life: str, spare: str, level: str, words: str) -> None:
    folder = "sys/block/mmcblk0/device"
    tree(
        tmp_path,
        {
            f"{folder}/type": "MMC",
            f"{folder}/name": "BJTD4R",
            f"{folder}/life_time": life,
            f"{folder}/pre_eol_info": spare,
            "sys/block/mmcblk0boot0/device/type": "MMC",
        },
    )
    (found,) = [each for each in look_at_disk(tmp_path) if "BJTD4R" in each.text]
    assert (found.level, words in found.text) == (level, True), found


# --- power


def signs(cpu_c: float | None = 45.0, undervoltage: bool | None = False) -> VitalSigns:
    return VitalSigns(Reading(cpu_c, "none"), Reading(None), undervoltage, None, None, None)


def power(answer: Said | str, board: str = PI, found: VitalSigns | None = None) -> list[Finding]:
    run = host(Path("/none"), {"vcgencmd get_throttled": answer})
    return list(power_findings(run, found or signs(), board))


def test_a_board_that_is_well() -> None:
    assert [each.level for each in power("throttled=0x0")] == ["ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("bits", "words", "hint"),
    [
        ("0x50005", "its voltage is too low; it is throttled (now; 0x50005)", "supply"),
        (
            "0x50000",
            "its voltage is too low; it is throttled (so it was since the board started; 0x50000)",
            "supply",
        ),
        ("0x80008", "it is at its heat limit (now; 0x80008)", "sun"),
        ("0x20002", "its clock is capped (now; 0x20002)", "supply"),
    ],
)
def test_the_firmwares_bits_in_words(bits: str, words: str, hint: str) -> None:
    (found,) = [each for each in power(f"throttled={bits}") if each.level == "wrong"]
    assert words in found.text
    assert hint in found.hint


def test_where_the_firmware_says_nothing_that_is_a_note() -> None:
    for answer in (Said(255, "VCHI initialization failed"), "throttled=what"):
        assert "is not known" in said(power(answer), "note")
    assert "no voltage sensor" in said(power("", board="", found=signs(undervoltage=None)), "note")
    assert "no rpi_volt" in said(power("throttled=0x0", found=signs(undervoltage=None)), "note")


@pytest.mark.parametrize(
    ("degrees", "level"), [(45.0, "ok"), (72.0, "note"), (81.0, "wrong"), (None, "note")]
)
def test_heat(degrees: float | None, level: str) -> None:
    assert power("throttled=0x0", found=signs(degrees))[-1].level == level


def test_a_low_voltage_is_wrong_by_the_kernels_own_files(tmp_path: Path) -> None:
    tree(tmp_path, {"sys/class/hwmon/hwmon1/name": "rpi_volt", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1"})
    found = power_findings(host(tmp_path), LinuxVitals(tmp_path, tmp_path).read(), "")
    assert wrong(found) == ["the board's supply voltage is too low, or was since its start"]


# --- the board


def test_a_board_says_its_model_and_how_old_its_bootloader_is(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/device-tree/model": PI.encode() + b"\0",
            "proc/device-tree/chosen/bootloader/build-timestamp": struct.pack(">I", 1_669_334_400),
        },
    )
    assert board_model(tmp_path) == PI
    assert bootloader_built_s(tmp_path) == TRYBOOT_SINCE_S == 1_669_334_400
    assert built_on(TRYBOOT_SINCE_S) == "2022-11-25"
    assert knows_tryboot(TRYBOOT_SINCE_S)
    assert not knows_tryboot(TRYBOOT_SINCE_S - 1)


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"\0\0\0\0", b"\0" * 8])
def test_a_bootloader_of_no_age_has_none(tmp_path: Path, content: bytes) -> None:
    tree(tmp_path, {"proc/device-tree/chosen/bootloader/build-timestamp": content})
    assert bootloader_built_s(tmp_path) is None
    assert bootloader_built_s(tmp_path / "pc") is None
    assert board_model(tmp_path) == ""


# --- zone

DETECTOR = (320, 256)


def zone(camera: CameraOptions | None = None, **options: object) -> list[Finding]:
    made = ZoneOptions(**options)  # type: ignore[arg-type]
    return list(zone_findings(made, camera or CameraOptions(), DETECTOR))


def test_the_default_zone_is_well() -> None:
    assert [each.level for each in zone()] == ["ok", "ok"]


@pytest.mark.parametrize(
    "polygon",
    [
        [[0.1, 0.1], [0.9, 0.9], [0.9, 0.1], [0.1, 0.9]],  # an hourglass
        [[0.1, 0.1], [0.9, 0.1], [0.5, 0.1], [0.5, 0.9], [0.1, 0.9]],  # back over its own edge
    ],
)
def test_a_polygon_that_crosses_itself_is_wrong(polygon: list[list[float]]) -> None:
    assert "crosses itself: edges" in wrong(zone(polygon=polygon))[0]


def test_a_polygon_with_a_dent_does_not_cross_itself() -> None:
    assert not wrong(zone(polygon=[[0, 0], [1, 0], [0.5, 0.5], [1, 1], [0, 1]]))


def test_a_polygon_too_small_or_at_the_very_edge_is_wrong() -> None:
    tiny = [[0.5, 0.5], [0.56, 0.5], [0.56, 0.55], [0.5, 0.55]]
    assert wrong(zone(polygon=tiny)) == ["zone.polygon covers 0.3% of the picture"]
    strip = [[0.0, 0.0], [0.03, 0.0], [0.03, 1.0], [0.0, 1.0]]
    assert "a face of 80 px there is cut off" in wrong(zone(polygon=strip))[0]
    door = [[0.4, 0.3], [0.55, 0.3], [0.55, 0.5], [0.4, 0.5]]
    assert said(zone(polygon=door), "note") == "zone.polygon covers only 3% of the picture"


@pytest.mark.parametrize(
    ("min_face_px", "width_px", "level"),
    [
        (80, 1280, "ok"),
        (96, 1280, "ok"),
        (70, 1280, "note"),
        (48, 1280, "wrong"),
        (48, 640, "ok"),
        (400, 1280, "wrong"),
    ],
)
def test_the_smallest_face_must_be_one_that_the_detector_sees(
    min_face_px: int, width_px: int, level: str
) -> None:
    camera = CameraOptions(width_px=width_px, height_px=width_px * 9 // 16)
    assert zone(camera, min_face_px=min_face_px)[1].level == level


def test_odd_limits_of_the_pose_are_notes() -> None:
    found = zone(max_yaw_deg=55.0, max_pitch_deg=6.0)
    assert said(found, "note").count("zone.max_") == 2
    assert not wrong(found)
