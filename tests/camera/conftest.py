# SPDX-License-Identifier: Apache-2.0
"""These tests run in a root of their own (`make camera`), without conftest files; elsewhere there is no libcamera."""

collect_ignore_glob = ["test_real_*.py"]
