# SPDX-License-Identifier: Apache-2.0
"""`config/asyncapi.yaml`: the contract for tools, in AsyncAPI 3, made from `contract.py` and the payload schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from device.contract import CHANNELS
from device.payloads import CONTRACT_VERSION

if TYPE_CHECKING:
    from device.contract import Channel

HEAD = """\
# The MQTT contract for tools (AsyncAPI 3). For people: docs/protocol.md.
# Written by `make docs` from device/contract.py.
"""
PARAMETERS = {
    "base": {"description": "mqtt.base of the device.", "default": "porter"},
    "device": {"description": "device.id."},
    "camera": {"description": "camera.name of the device."},
    "code": {"description": "Which alert."},
    "verb": {
        "description": "Which command.",
        "enum": ["pause", "resume", "identify", "restart", "republish"],
    },
}
SCHEMAS = {
    "info": "info",
    "alert": "alert",
    "health": "health",
    "match": "match",
    "matchLate": "match",
    "presence": "presence",
    "command": "command",
    "commandResult": "command-result",
}


def asyncapi_yaml() -> str:
    """The file's text."""
    return HEAD + yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=110)


def document() -> dict[str, Any]:
    """The document. Operations are the device's: it sends, and receives commands."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Porter",
            "version": f"{CONTRACT_VERSION}.0.0",
            "description": "A door camera that knows only the people who asked to be known. Late is not live: `match` "
            "never carries anything old. No message carries an image, a box, an embedding or a stranger.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}:{port}",
                "protocol": "secure-mqtt",
                "protocolVersion": "5.0",
                "description": "Yours. 3.1.1 works as well; what MQTT 5 adds is then missing.",
                "variables": {"host": {"default": "localhost"}, "port": {"default": "8883"}},
            }
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {_operation_name(channel): _operation(channel) for channel in CHANNELS},
        "components": {
            "messages": {channel.name: _message(channel) for channel in CHANNELS},
            "parameters": PARAMETERS,
        },
    }


def _operation_name(channel: Channel) -> str:
    return f"{'receive' if channel.to_device else 'send'}{channel.name[0].upper()}{channel.name[1:]}"


def _channel(channel: Channel) -> dict[str, Any]:
    names = [name for name in PARAMETERS if f"{{{name}}}" in channel.address]
    return {
        "address": channel.address,
        "description": channel.summary,
        "messages": {channel.name: {"$ref": f"#/components/messages/{channel.name}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
        "x-maturity": channel.maturity,
    }


def _operation(channel: Channel) -> dict[str, Any]:
    return {
        "action": "receive" if channel.to_device else "send",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.summary,
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retained, "bindingVersion": "0.2.0"}},
        "x-expiry": channel.expiry,
    }


def _message(channel: Channel) -> dict[str, Any]:
    if channel.body is None:
        return {
            "summary": channel.summary,
            "contentType": "text/plain",
            "payload": {"type": "string", "enum": list(channel.words)},
        }
    return {
        "summary": channel.summary + (" The payload may be empty." if channel.may_be_empty else ""),
        "contentType": "application/json",
        "payload": {"$ref": f"./schemas/{SCHEMAS[channel.name]}.schema.json"},
    }
