# SPDX-License-Identifier: Apache-2.0
"""How an option is declared: `options.py` has the options themselves."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta


def option(doc: str, *, unit: str = "", form: str = "", restart: bool = False, **limits: Any) -> Meta:
    """An option's declaration: its doc sentence, unit and limits (ge, le, gt, lt, pattern, min_length ...).

    `form` says a pattern in words. Unit, form and restart travel as `x-unit`, `x-form` and `x-restart` in the schema.
    """
    extras = {"x-unit": unit, "x-form": form, "x-restart": restart}
    return Meta(
        description=doc, extra_json_schema={key: value for key, value in extras.items() if value}, **limits
    )


NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
NAME_FORM = "1 to 63 small letters, digits, - and _"
Fraction = Annotated[float, Meta(ge=0, le=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, unknown keys refused. A section's docstring is its doc."""
