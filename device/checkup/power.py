# SPDX-License-Identifier: Apache-2.0
"""Supply voltage, throttling and heat, as a Raspberry Pi's firmware sees them.

Under-voltage comes from the kernel's `rpi_volt`; throttling from `vcgencmd get_throttled`, whose bits are in the
maker's documentation. The same number in /sys/devices/platform/soc/soc:firmware/get_throttled is not read: the kernel
calls it deprecated and writes a warning with a stack trace at the first reader of a boot.

Never run on a Raspberry Pi: tested on what one says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.checkup.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.checkup.host import Host
    from device.ports import VitalSigns

NOW = {
    0: "its voltage is too low",
    1: "its clock is capped",
    2: "it is throttled",
    3: "it is at its heat limit",
}
SINCE_BOOT = 16  # the same four bits once more, for "since the board started"
HEAT = 3
SUPPLY = "use the supply that the board asks for, with a short thick cable"
COOLER = "out of the sun, air around it, a heat sink; a lower camera.rate_hz"
HOT_C, WARM_C = 80.0, 70.0  # from 80 a Raspberry Pi slows itself down (its maker's figure)


def power_findings(host: Host, signs: VitalSigns, board: str) -> Iterator[Finding]:
    """signs: what the sensors say now. board: its model, empty on a PC."""
    if signs.undervoltage:
        yield Finding(
            "power", "wrong", "the board's supply voltage is too low, or was since its start", SUPPLY
        )
    elif signs.undervoltage is False:
        yield Finding("power", "ok", "the board's supply voltage is as it should be")
    elif "Raspberry Pi" in board:
        hint = "the kernel's module raspberrypi-hwmon is missing"
        yield Finding("power", "note", "the supply voltage is not known: no rpi_volt", hint)
    else:
        yield Finding("power", "note", "this board has no voltage sensor that is known")
    if "Raspberry Pi" in board:
        yield from throttling(host)
    yield heat(signs)


def throttling(host: Host) -> Iterator[Finding]:
    """The firmware's bits."""
    said = host.run("vcgencmd", "get_throttled")
    try:
        bits = int(said.text.removeprefix("throttled="), 16) if said.well else None
    except ValueError:
        bits = None
    if bits is None:
        hint = "the group video may ask: sudo porter doctor; the package is raspi-utils"
        yield Finding("power", "note", f"whether it was throttled is not known: {said.text[:80]}", hint)
        return
    active = [number for number in NOW if bits >> number & 1]
    past = [number for number in NOW if bits >> (SINCE_BOOT + number) & 1]
    if not active and not past:
        yield Finding("power", "ok", "it was not throttled since the board started")
        return
    what = "; ".join(NOW[number] for number in active or past)
    when = "now" if active else "so it was since the board started"
    causes = set(active or past)
    hint = COOLER if HEAT in causes and 0 not in causes else SUPPLY
    yield Finding("power", "wrong", f"the firmware says: {what} ({when}; 0x{bits:x})", hint)


def heat(signs: VitalSigns) -> Finding:
    """The processor's temperature."""
    degrees = signs.cpu_c.value
    if degrees is None:
        return Finding("power", "note", f"the processor's temperature is not known: {signs.cpu_c.reason}")
    if degrees >= HOT_C:
        return Finding("power", "wrong", f"the processor has {degrees:.0f} °C and slows down", COOLER)
    if degrees >= WARM_C:
        return Finding(
            "power", "note", f"the processor has {degrees:.0f} °C, near its limit of {HOT_C:.0f}", COOLER
        )
    return Finding("power", "ok", f"the processor has {degrees:.0f} °C")
