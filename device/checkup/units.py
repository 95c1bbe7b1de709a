# SPDX-License-Identifier: Apache-2.0
"""The two services as systemd has them: running, enabled, how often restarted, and as narrow as they were shipped.

What is compared are the loaded units' properties, so it does not matter where somebody changed them; the drop-ins are
then read to say who did. A test holds the table below against the unit files in `systemd/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from device.checkup.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device.checkup.host import Host

BOOTED = "run/systemd/system"
SERVICES = ("porter-vision.service", "porter-forward.service")
TARGET = "porter.target"
BOTH = {
    "LimitCORE": "0",
    "MemorySwapMax": "0",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "DevicePolicy": "closed",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectProc": "invisible",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "PrivateTmp": "yes",
    "PrivateMounts": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
}
HARDENING: dict[str, dict[str, str]] = {
    "porter-vision.service": {
        **BOTH,
        "User": "porter-vision",
        "RestrictAddressFamilies": "AF_NETLINK AF_UNIX",
        "IPAddressDeny": "0.0.0.0/0 ::/0",
        "IPAddressAllow": "",
    },
    "porter-forward.service": {
        **BOTH,
        "User": "porter-forward",
        "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
        "PrivateDevices": "yes",
        "PrivateUsers": "yes",
        "MemoryDenyWriteExecute": "yes",
    },
}
STATE = (
    "LoadState",
    "ActiveState",
    "SubState",
    "StatusText",
    "NRestarts",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
)
FILTER = "SystemCallFilter"
# What a drop-in may widen without a property that could be compared in a line.
WIDE = (
    FILTER,
    "DeviceAllow",
    "ReadWritePaths",
    "BindPaths",
    "BindReadOnlyPaths",
    "InaccessiblePaths",
    "TemporaryFileSystem",
    "SupplementaryGroups",
    "ExecStart",
    "Environment",
)


def unit_findings(host: Host) -> Iterator[Finding]:
    """Both services and the target that starts them."""
    if not host.path(BOOTED).is_dir():  # sd_booted(3)
        yield Finding("units", "note", "this system does not run systemd: nothing keeps the services running")
        return
    enabled = host.run("systemctl", "is-enabled", TARGET)
    if enabled.code is None:
        yield Finding("units", "wrong", enabled.text, "journalctl -b; is the board overloaded?")
        return
    if enabled.text != "enabled":
        hint = f"sudo systemctl enable --now {TARGET}"
        yield Finding(
            "units", "wrong", f"{TARGET} is {enabled.text[:80]}: after a restart nothing runs", hint
        )
    for unit in SERVICES:
        yield from service(host, unit)


def service(host: Host, unit: str) -> Iterator[Finding]:
    """One of them."""
    names = ",".join((*STATE, FILTER, *HARDENING[unit]))
    said = host.run("systemctl", "show", unit, f"--property={names}")
    loaded = dict(line.split("=", 1) for line in said.text.splitlines() if "=" in line)
    if not said.well:
        yield Finding("units", "wrong", f"{unit}: {said.text[:120]}", f"systemctl status {unit}")
        return
    if loaded.get("LoadState") != "loaded":
        text = f"{unit} is {loaded.get('LoadState', 'not known')}"
        yield Finding("units", "wrong", text, "install the units again (README.md, On a device)")
        return
    yield state(unit, loaded)
    if loaded.get("NeedDaemonReload") == "yes":
        text = f"{unit}: its file changed since it was read"
        yield Finding("units", "note", text, "sudo systemctl daemon-reload")
    if (restarts := loaded.get("NRestarts", "0")) not in ("0", "1"):
        hint = f"journalctl -u {unit} -b says why; 200 a day, then the board starts anew"
        yield Finding("units", "note", f"{unit} was started again {restarts} times", hint)
    yield from sandbox(host, unit, loaded)


def sandbox(host: Host, unit: str, loaded: dict[str, str]) -> Iterator[Finding]:
    """What it may do, compared with what it was shipped with."""
    wanted = HARDENING[unit]
    drop_ins = {Path(name): directives(host, name) for name in loaded.get("DropInPaths", "").split()}
    weaker = [name for name, value in wanted.items() if differs(value, loaded.get(name, value))]
    for name in weaker:
        yield weakened(unit, name, loaded[name], wanted[name], drop_ins)
    if loaded.get(FILTER) == "":  # shown as a long list of calls, so that only its absence is plain
        weaker.append(FILTER)
        yield weakened(unit, FILTER, "", "@system-service without most of its privileged part", drop_ins)
    for path, found in drop_ins.items():
        if wide := [name for name in WIDE if name in found and name not in weaker]:
            text = f"{path} changes {', '.join(wide)} of {unit}"
            yield Finding("units", "note", text, f"is that meant? systemctl cat {unit}")
    missing = [name for name in wanted if name not in loaded]
    if missing:
        yield Finding("units", "note", f"{unit}: this systemd does not say {', '.join(missing)}")
    if not weaker:
        yield Finding("units", "ok", f"{unit} is as narrow as it was shipped, by {len(wanted)} properties")


def state(unit: str, loaded: dict[str, str]) -> Finding:
    """Whether it runs."""
    active, detail = loaded.get("ActiveState", ""), loaded.get("SubState", "")
    said = f" ({loaded['StatusText']})" if loaded.get("StatusText") else ""
    if active == "active":
        return Finding("units", "ok", f"{unit} is active{said}")
    hint = f"systemctl status {unit} says why"
    return Finding("units", "wrong", f"{unit} is {active}, {detail}{said}", hint)


def differs(wanted: str, found: str) -> bool:
    """Lists have no order."""
    return sorted(wanted.split()) != sorted(found.split())


def weakened(unit: str, name: str, found: str, wanted: str, drop_ins: dict[Path, dict[str, str]]) -> Finding:
    """What differs, and who made it so."""
    culprits = [str(path) for path, lines in drop_ins.items() if name in lines]
    text = f"{unit} has {name}={found or '(nothing)'}, shipped is {wanted or '(nothing)'}"
    if culprits:
        return Finding(
            "units", "wrong", f"{text}: by {culprits[-1]}", f"sudo systemctl revert {unit}, or mend that file"
        )
    return Finding(
        "units",
        "wrong",
        text,
        "install the unit again (README.md, On a device), then systemctl daemon-reload",
    )


def directives(host: Host, name: str) -> dict[str, str]:
    """The [Service] directives of a drop-in; nothing where it cannot be read."""
    try:
        lines = host.path(name).read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    found, section = {}, ""
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            section = text
        elif section == "[Service]" and "=" in text and text[0] not in "#;":
            key, _, value = text.partition("=")
            found[key.strip()] = value.strip()
    return found
