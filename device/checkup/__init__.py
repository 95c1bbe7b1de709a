# SPDX-License-Identifier: Apache-2.0
"""The self-checks of `porter doctor`: one file a subject, one function a check, each yielding findings."""
