# SPDX-License-Identifier: Apache-2.0
"""Porter: a door camera that knows only the people who asked to be known. Read `pipeline.py` first."""

__version__ = "0.1.0"
