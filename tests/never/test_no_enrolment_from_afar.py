# SPDX-License-Identifier: Apache-2.0
"""Never 2 and 9: nobody is enrolled from afar.

Enrolment is reached through a Unix socket on the device and through nothing else; what crosses that socket has no
place for a picture, an embedding or a threshold; and what speaks MQTT cannot even import the words of that socket.
"""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import grimp
import msgspec
import pytest
from msgspec import inspect

import device
from device.control import Request
from device.payloads import Command, Wish

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = get_args(Request)
FORBIDDEN_WORDS = (
    "image",
    "photo",
    "picture",
    "frame",
    "embedding",
    "template",
    "reference",
    "probe",
    "threshold",
    "score",
)
LOCAL_ONLY = ("control", "gallery", "enrolment", "consent")


def parts(found: inspect.Type) -> Iterator[inspect.Type]:
    """A type and the alternatives in it."""
    if isinstance(found, inspect.UnionType):
        for one in found.types:
            yield from parts(one)
    elif isinstance(found, inspect.Metadata):
        yield from parts(found.type)
    else:
        yield found


def test_the_socket_knows_these_requests_and_no_import() -> None:
    tags = {request.__struct_config__.tag for request in REQUESTS}
    assert tags == {
        "status",
        "pause",
        "resume",
        "subjects",
        "withdraw",
        "enrol",
        "renew",
        "rename",
        "rotate_key",
    }


@pytest.mark.parametrize("request_type", REQUESTS)
def test_a_request_carries_words_and_nothing_that_could_be_a_face(request_type: type[msgspec.Struct]) -> None:
    described = inspect.type_info(request_type)
    assert isinstance(described, inspect.StructType)
    assert described.forbid_unknown_fields
    for field in described.fields:
        assert not any(word in field.name for word in FORBIDDEN_WORDS), field.name
        kinds = {type(part) for part in parts(field.type)}
        assert kinds <= {inspect.StrType, inspect.BoolType, inspect.NoneType}, f"{field.name}: {kinds}"


@pytest.mark.parametrize("smuggled", [{"embedding": [0.1] * 128}, {"image": "aGVsbG8="}, {"threshold": 0.1}])
@pytest.mark.parametrize("request_type", REQUESTS)
def test_a_field_that_does_not_belong_there_is_refused(
    request_type: type[msgspec.Struct], smuggled: object
) -> None:
    assert isinstance(smuggled, dict)
    tag = request_type.__struct_config__.tag
    given = {"label": "anna", "subject": "anna", "policy_text": "yes", "acknowledged": True}
    whole = {name: given[name] for name in request_type.__struct_fields__ if name in given}
    msgspec.json.decode(json.dumps({"type": tag} | whole), type=Request)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(json.dumps({"type": tag} | whole | smuggled), type=Request)


def test_the_control_socket_is_a_unix_socket_in_the_file_system(tmp_path: Path) -> None:
    """Every socket that the server makes and every address it binds, as the interpreter's own audit reports them."""
    program = """
import sys
def audit(event, args):
    if event in ("socket.__new__", "socket.bind", "socket.connect"):
        print(event, *map(repr, args[1:]), flush=True)
import pathlib
from device.adapters.control_socket import ControlServer
sys.addaudithook(audit)
server = ControlServer(pathlib.Path(sys.argv[1]), None)
server.step(0)
server.close()
"""
    path = tmp_path / "control.sock"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    events = done.stdout.splitlines()
    made = [line for line in events if line.startswith("socket.__new__")]
    bound = [line for line in events if line.startswith("socket.bind")]
    assert made
    assert all(line.split()[1] == str(int(socket.AF_UNIX)) for line in made), made
    assert bound == [f"socket.bind {str(path)!r}"]


@pytest.mark.parametrize("address", ["\0porter", "", "127.0.0.1:7000"])
def test_there_is_no_address_that_makes_it_anything_else(tmp_path: Path, address: str) -> None:
    """An abstract name (no file, no mode bits) is refused; host and port is just a strange file name."""
    program = """
import pathlib, sys
from device.adapters.control_socket import ControlServer
server = ControlServer(pathlib.Path(eval(sys.argv[1])), None)
print(server._listener.family.name, pathlib.Path(eval(sys.argv[1])).is_socket())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, repr(address)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    if address == "127.0.0.1:7000":
        assert done.stdout == "AF_UNIX True\n"
    else:
        assert "InputError" in done.stderr


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports what, lazy imports included."""
    return grimp.build_graph("device", include_external_packages=True, cache_dir=None)


def test_what_speaks_mqtt_reaches_neither_the_socket_nor_the_gallery(graph: grimp.ImportGraph) -> None:
    """`demo` alone may know both ends: it stands outside and watches the two services."""
    speakers = graph.find_downstream_modules("paho") - {"device.demo"}
    assert "device.adapters.broker_mqtt" in speakers
    for speaker in sorted(speakers):
        reached = graph.find_upstream_modules(speaker)
        assert not {one for one in reached if one.rsplit(".", 1)[-1].split("_")[0] in LOCAL_ONLY}, speaker


def test_what_sees_makes_no_socket_but_unix_ones(graph: grimp.ImportGraph) -> None:
    """In every module that the vision service can reach: each socket is AF_UNIX by its literal first argument."""
    reached = {"device.vision_service", *graph.find_upstream_modules("device.vision_service")}
    assert "device.adapters.control_socket" in reached
    for name in sorted(one for one in reached if one.startswith("device")):
        text = source(name).read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "socket"
            ):
                assert not node.attr.startswith(("AF_", "create_")) or node.attr == "AF_UNIX", (
                    name,
                    node.attr,
                )
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "socket.socket":
                assert node.args, name
                assert ast.unparse(node.args[0]) == "socket.AF_UNIX", name
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("socket", "socketserver", "asyncio"), name


def source(module: str) -> Path:
    """The file of one of our modules."""
    base = Path(device.__file__).parent.joinpath(*module.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def test_a_broker_reaches_the_vision_service_by_three_words_only() -> None:
    """Whatever a command says, what crosses to the process that sees is a number and one of these."""
    fields = {field.name: field.type for field in msgspec.structs.fields(Wish)}
    assert set(fields) == {"number", "verb"}
    assert set(get_args(fields["verb"])) == {"pause", "resume", "restart"}
    assert set(Command.__struct_fields__) == {"corr", "valid_until", "on"}
