# SPDX-License-Identifier: Apache-2.0
"""`make node-red`: the shipped flow in a real Node-RED."""
