# SPDX-License-Identifier: Apache-2.0
"""One file per outside thing, the fake beside the real; adapters never call one another."""
