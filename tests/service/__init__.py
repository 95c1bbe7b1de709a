# SPDX-License-Identifier: Apache-2.0
"""Tests of the services as real processes, without a broker; those with one are in tests/system."""
