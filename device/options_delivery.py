# SPDX-License-Identifier: Apache-2.0
"""The options of what leaves the device; part of `options.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from device.option_form import Section, option


class EventOptions(Section, frozen=True):
    """What events say."""

    publish_labels: Annotated[
        bool, option("Whether events carry the subject's label, not only the opaque ref.")
    ] = False
    outbox_max_mb: Annotated[
        int,
        option(
            "Size of the outbox; beyond it the oldest events are dropped, and counted. 1 MB holds some 900 events.",
            unit="MB",
            ge=1,
            le=4096,
            restart=True,
        ),
    ] = 64
    outbox_keep_days: Annotated[
        int,
        option("Events older than this are dropped instead of sent, and counted.", unit="days", ge=1, le=365),
    ] = 30
    live_max_age_s: Annotated[
        int, option("An event older than this is never sent as live.", unit="s", ge=5, le=120)
    ] = 30


class MqttOptions(Section, frozen=True):
    """The broker."""

    host: Annotated[
        str,
        option(
            "The broker's name or address.",
            max_length=253,
            pattern=r"^[^\s/@]+$",
            form="a host name or an IP address, no mqtt:// before it",
        ),
    ] = "localhost"
    port: Annotated[int, option("Its port; 8883 is MQTT over TLS, 1883 plain.", ge=1, le=65535)] = 8883
    protocol: Annotated[
        Literal["auto", "5", "3.1.1"], option("MQTT version; `auto` tries 5 and falls back to 3.1.1.")
    ] = "auto"
    base: Annotated[
        str,
        option(
            "First topic level, or levels.",
            max_length=63,
            pattern=r"^[^+#/$\s][^+#/\s]*(/[^+#/\s]+)*$",
            form="a topic without +, #, spaces or an empty level",
        ),
    ] = "porter"
    client_id: Annotated[
        str, option("Client identifier; empty: `porter-` and the device's id.", max_length=64)
    ] = ""
    tls: Annotated[bool, option("TLS with verification. Plain TCP must be asked for by `tls: false`.")] = True
    ca_file: Annotated[str, option("Certificate authority of the broker; empty: the system's.")] = ""
    client_cert_file: Annotated[str, option("Client certificate, where the broker wants one.")] = ""
    client_key_file: Annotated[str, option("Its key.")] = ""
    username: Annotated[str, option("User name; empty: none.", max_length=128)] = ""
    password_file: Annotated[str, option("File whose first line is the password; empty: none.")] = ""
    keep_alive_s: Annotated[int, option("MQTT keep alive.", unit="s", ge=5, le=600)] = 30
    commands: Annotated[
        bool,
        option(
            "Whether pause, resume, identify, restart and republish are obeyed. No command enrols, touches the "
            "gallery or changes what matches."
        ),
    ] = True


class MetricsOptions(Section, frozen=True):
    """Prometheus metrics of the forwarder."""

    textfile: Annotated[
        str,
        option(
            "File for the node exporter's textfile collector, renewed every 15 s; empty: none.",
            pattern=r"^(.*\.prom)?$",
            form="a path that ends in .prom, or empty",
            restart=True,
        ),
    ] = ""
    port: Annotated[
        int, option("Port on 127.0.0.1 where they are served as well; 0: none.", ge=0, le=65535, restart=True)
    ] = 0


class HomeAssistantOptions(Section, frozen=True):
    """Home Assistant finds this device by itself."""

    discovery: Annotated[bool, option("Whether this device makes itself known to Home Assistant.")] = True
    prefix: Annotated[
        str,
        option(
            "Home Assistant's discovery prefix.",
            max_length=63,
            pattern=r"^[^+#/$\s][^+#/\s]*(/[^+#/\s]+)*$",
            form="a topic without +, #, spaces or an empty level",
        ),
    ] = "homeassistant"
