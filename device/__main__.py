# SPDX-License-Identifier: Apache-2.0
"""`python -m device` is `porter`: the services and the demo start themselves this way, whatever PATH says."""

import sys

from device.cli import main

sys.exit(main())
