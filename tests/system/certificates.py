# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by the openssl command: a CA, servers (right name, wrong name, expired), a client."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from device.adapters.broker_mosquitto import executable

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = """\
[ca]
default_ca = here
[here]
database = {folder}/{name}-index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = none
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


class Authority:
    """A certificate authority in `folder`; `ca` is its certificate."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.ca = folder / f"{name}.pem"
        self._name = name
        folder.mkdir(exist_ok=True)
        (folder / f"{name}-index.txt").touch()
        openssl(
            "req", "-x509", *new_key(self._key), "-out", str(self.ca), "-days", "2", "-subj", f"/CN=Porter test {name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(
        self,
        name: str,
        names: str = "IP:127.0.0.1,DNS:localhost",
        *,
        expired: bool = False,
        seconds: int = 0,
    ) -> tuple[Path, Path]:
        """A certificate for these subject alternative names, and its key. seconds: it ends so soon."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, config = self.folder / f"{name}.csr", self.folder / f"{name}.cnf"
        config.write_text(EXTENSIONS.format(folder=self.folder, name=self._name, names=names))
        openssl("req", *new_key(key), "-out", str(request), "-subj", f"/CN={name}")
        validity = (
            ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"] if expired else ["-days", "1"]
        )
        if seconds:
            end = datetime.now(UTC) + timedelta(seconds=seconds)
            validity = ["-enddate", end.strftime("%Y%m%d%H%M%SZ")]
        openssl(
            "ca", "-batch", "-config", str(config), "-extensions", "leaf", "-notext", *validity,
            "-cert", str(self.ca), "-keyfile", str(self._key), "-in", str(request), "-out", str(certificate),
        )  # fmt: skip
        return certificate, key

    @property
    def _key(self) -> Path:
        return self.folder / f"{self._name}.key"


def new_key(path: Path) -> list[str]:
    """Options that make a new P-256 key at `path`."""
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(path)]


def openssl(*arguments: str) -> None:
    """Runs openssl; its words on failure."""
    done = subprocess.run(
        [executable("openssl", "openssl"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"openssl {' '.join(arguments)}\n{done.stderr}"
