# SPDX-License-Identifier: Apache-2.0
"""A real Home Assistant core with its real MQTT integration and nothing else, driven by lines on standard input.

Runs in an environment of its own (`make home-assistant`): `python core.py CONFIG_DIR PORT`. Prints JSON, one object a
line: `{"ready": true}`, every state of an entity as it changes, and every notification. Reads `DOMAIN SERVICE
ENTITY` lines and calls that service; ends at the end of its input. CONFIG_DIR has automations.yaml.
"""

import asyncio
import json
import logging
import sys
from types import MappingProxyType

from homeassistant import config_entries, core, loader
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.helpers import (
    area_registry,
    category_registry,
    device_registry,
    entity,
    entity_registry,
    floor_registry,
    issue_registry,
    label_registry,
    restore_state,
    translation,
)
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml_dict

REGISTRIES = (
    area_registry,
    category_registry,
    device_registry,
    entity_registry,
    floor_registry,
    issue_registry,
    label_registry,
)


async def main(folder: str, port: int) -> None:
    """Starts the core, connects it to 127.0.0.1:PORT, serves standard input."""
    hass = core.HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.config_entries = config_entries.ConfigEntries(hass, {})
    loader.async_setup(hass)
    entity.async_setup(hass)
    translation.async_setup(hass)
    for registry in REGISTRIES:
        await registry.async_load(hass)
    await restore_state.async_load(hass)
    await hass.config_entries.async_initialize()
    # The web server and uploads, which the integration names as dependencies, are of no use here.
    hass.config.components.update({"http", "file_upload"})

    def tell(event: core.Event) -> None:
        new = event.data["new_state"]
        if new is not None:
            told = {"entity": new.entity_id, "state": new.state, "attributes": dict(new.attributes)}
            print(json.dumps(told, default=str), flush=True)

    def notified(call: core.ServiceCall) -> None:
        print(json.dumps({"notified": call.data["message"]}), flush=True)

    hass.bus.async_listen(EVENT_STATE_CHANGED, core.callback(tell))
    await async_setup_component(hass, "mqtt", {})
    # The notify integration wants the web server; all that an automation needs of it is the service.
    hass.services.async_register("notify", "persistent_notification", notified)
    await async_setup_component(hass, "automation", load_yaml_dict(f"{folder}/automations.yaml"))
    await hass.async_start()
    entry = config_entries.ConfigEntry(
        data={"broker": "127.0.0.1", "port": port, "discovery": True, "discovery_prefix": "homeassistant"},
        discovery_keys=MappingProxyType({}),
        domain="mqtt",
        minor_version=1,
        options={},
        source=config_entries.SOURCE_USER,
        title="broker",
        unique_id=None,
        version=1,
    )
    await hass.config_entries.async_add(entry)
    print(json.dumps({"ready": entry.state is config_entries.ConfigEntryState.LOADED}), flush=True)
    reader = asyncio.StreamReader()
    await hass.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        await hass.services.async_call(line[0], line[1], {"entity_id": line[2]}, blocking=True)
    await hass.async_stop(force=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
