# SPDX-License-Identifier: Apache-2.0
"""Evaluation and benchmarks, run by people, never by the services."""
