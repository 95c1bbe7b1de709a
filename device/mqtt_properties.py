# SPDX-License-Identifier: Apache-2.0
"""From Porter's messages to paho's MQTT 5 properties and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device.mqtt_messages import Received

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

    from device.mqtt_messages import Message

MAX_PACKET_BYTES = 64 * 1024


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves this one untyped


def connect_properties(session_expiry_s: int) -> Properties:
    """What we send is remembered by the outbox, not by the session. The rest bounds what the broker may send us."""
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = session_expiry_s
    properties.ReceiveMaximum = 16
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    return properties


def publish_properties(message: Message) -> Properties:
    """What MQTT 5 adds to the body."""
    properties = _properties(PacketTypes.PUBLISH)
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    if message.content_type:
        properties.ContentType = message.content_type
    if message.properties:
        properties.UserProperty = list(message.properties)
    if message.correlation:
        properties.CorrelationData = message.correlation
    return properties


def set_will(client: Client, will: Message, delay_s: int | None) -> None:
    """What the broker publishes when the connection dies; the delay exists on MQTT 5 only (None)."""
    properties = None
    if delay_s is not None:
        properties = _properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = delay_s
    client.will_set(will.topic, will.payload, will.qos, will.retain, properties)


def received(message: MQTTMessage) -> Received:
    """A message as it arrived."""
    extra = message.properties
    return Received(
        message.topic,
        bytes(message.payload),
        bool(message.retain),
        dict(getattr(extra, "UserProperty", [])),
        getattr(extra, "MessageExpiryInterval", None),
        getattr(extra, "CorrelationData", b""),
        getattr(extra, "ResponseTopic", ""),
    )
