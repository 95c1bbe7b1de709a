# SPDX-License-Identifier: Apache-2.0
"""Pixels in, numbers out. Pure: no I/O, no clock, no threads."""
