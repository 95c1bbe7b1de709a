# SPDX-License-Identifier: Apache-2.0
"""When a certificate ends, as the openssl command reads it; unknown is not an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.certificates import days_left, ends_ns, parsed_ns, said
from tests.unit.test_tls_files import PEM

if TYPE_CHECKING:
    from pathlib import Path

ENDS = "Oct 30 06:58:18 2126 GMT"  # of the certificate in PEM
DAY_NS = 24 * 3600 * 10**9


def test_the_end_of_a_certificate_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(PEM)
    assert ends_ns(str(file)) == parsed_ns(ENDS) == 4949017098 * 10**9


@pytest.mark.parametrize("content", ["", "no certificate", PEM[:200]])
def test_a_file_without_a_certificate_has_no_end(tmp_path: Path, content: str) -> None:
    (tmp_path / "ca.pem").write_text(content)
    assert ends_ns(str(tmp_path / "ca.pem")) is None
    assert ends_ns(str(tmp_path / "nothing.pem")) is None


def test_without_openssl_it_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ends_ns(str(tmp_path / "ca.pem")) is None


def test_days_are_whole_and_past_ones_negative() -> None:
    ends = parsed_ns(ENDS)
    assert days_left(ends, ends - 3 * DAY_NS) == 3
    assert days_left(ends, ends + 1) == -1
    assert said("it", ends, ends - 2 * DAY_NS) == "it ends on 2126-10-30, in 2 days"
    assert said("it", ends, ends + DAY_NS) == "it ended on 2126-10-30"
