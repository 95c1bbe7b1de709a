# SPDX-License-Identifier: Apache-2.0
"""`make appliance`: the shipped units under a real systemd, in a Debian root that systemd-nspawn boots."""
