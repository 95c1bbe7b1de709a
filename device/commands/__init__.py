# SPDX-License-Identifier: Apache-2.0
"""The short verbs: what a person types at the device. Each module has `add_arguments(parser)` and `run(args)`."""
