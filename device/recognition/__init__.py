# SPDX-License-Identifier: Apache-2.0
"""Numbers in, decisions out. Pure: no I/O, no clock, no threads."""
