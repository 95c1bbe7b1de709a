# SPDX-License-Identifier: Apache-2.0
"""`make camera`: the picamera2 adapter against the real Picamera2 class, on libcamera's virtual pipeline."""
