# SPDX-License-Identifier: Apache-2.0
"""Every option of `porter.yaml`, declared once: type, range, unit, default and doc.

The loader (`config.py`), `config/porter.yaml`, `config/porter.schema.json` and `docs/config.md` all come from here.
An option marked `restart` cannot change under a running service: a SIGHUP that changes one is refused whole.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from device.option_form import NAME, NAME_FORM, Fraction, Section, option
from device.options_delivery import EventOptions, HomeAssistantOptions, MetricsOptions, MqttOptions
from device.options_optics import OpticsOptions


class DeviceOptions(Section, frozen=True):
    """Which device this is and where it keeps its files."""

    id: Annotated[
        str, option("Name of this device in MQTT topics.", pattern=NAME, form=NAME_FORM, restart=True)
    ] = "porter-01"
    state_dir: Annotated[str, option("Folder of the gallery and the outbox.", min_length=1, restart=True)] = (
        "/var/lib/porter"
    )
    run_dir: Annotated[
        str,
        option(
            "Folder of the control socket and the state board; on tmpfs. A socket's whole path may have 107 bytes.",
            min_length=1,
            max_length=90,
            restart=True,
        ),
    ] = "/run/porter"


class CameraOptions(Section, frozen=True):
    """Where frames come from. There is no network source: the process that sees has no network."""

    name: Annotated[
        str, option("Name of this camera in MQTT topics.", pattern=NAME, form=NAME_FORM, restart=True)
    ] = "cam0"
    source: Annotated[
        Literal["picamera2", "usb", "files"],
        option(
            "`picamera2` (CSI cameras), `usb` (a local V4L2 camera; needs the `video` extra) or `files` (a folder of "
            "pictures, a GIF, a video file: a simulation, whose gallery no real camera will open).",
            restart=True,
        ),
    ] = "picamera2"
    path: Annotated[
        str,
        option(
            "`files`: the folder or file. `usb`: the device, e.g. `/dev/video0`; a name under `/dev/v4l/by-id` is the "
            "same after every start. `picamera2`: the camera's number."
        ),
    ] = "0"
    width_px: Annotated[int, option("Width of the main stream.", unit="px", ge=320, le=4056)] = 1280
    height_px: Annotated[int, option("Height of the main stream.", unit="px", ge=240, le=3040)] = 720
    rate_hz: Annotated[
        float,
        option(
            "Frames a second; for `files`, 0 means as fast as they are processed.", unit="Hz", ge=0, le=120
        ),
    ] = 10.0
    loop: Annotated[bool, option("`files`: begin again at the end.")] = True
    stall_after_s: Annotated[
        float,
        option(
            "Without a frame for so long the camera is reset (closed and opened).", unit="s", ge=0.5, le=30
        ),
    ] = 3.0


class ModelOptions(Section, frozen=True):
    """Which models run; `porter models` lists them."""

    folder: Annotated[str, option("Folder of the models; empty: the one that ships with Porter.")] = ""
    detector: Annotated[str, option("Manifest name of the face detector.", pattern=NAME, form=NAME_FORM)] = (
        "yunet-320x256"
    )
    embedder: Annotated[
        str,
        option(
            "Manifest name of the face embedder. Another one needs new enrolments.",
            pattern=NAME,
            form=NAME_FORM,
            restart=True,
        ),
    ] = "sface"


class InferenceOptions(Section, frozen=True):
    """What the models run on."""

    runtime: Annotated[
        Literal["auto", "ai-edge-litert", "tflite-runtime"],
        option("TFLite runtime; `auto` takes the one that is installed, LiteRT first."),
    ] = "auto"
    delegate: Annotated[
        Literal["cpu", "edgetpu"],
        option("Where models run. Never silently something else: see `fallback`.", restart=True),
    ] = "cpu"
    fallback: Annotated[
        Literal["none", "cpu"],
        option(
            "When the Edge TPU cannot be used: `none` looks at nothing until it is back, `cpu` goes on with the CPU's "
            "variants; with an alert either way, and tries to return at longer and longer intervals.",
            restart=True,
        ),
    ] = "none"
    edgetpu_library: Annotated[str, option("The Edge TPU's delegate library.", restart=True)] = (
        "libedgetpu.so.1"
    )
    edgetpu_device: Annotated[
        str,
        option(
            "Which Edge TPU: empty (the first), `usb`, `pci`, `usb:0` ...",
            pattern=r"^((usb|pci)?(:[0-9]+)?)$",
            form="usb, pci, usb:0, pci:1, :0 or empty",
            restart=True,
        ),
    ] = ""
    threads: Annotated[int, option("CPU threads a model may use.", ge=1, le=8)] = 2


class MotionOptions(Section, frozen=True):
    """The motion gate: nothing runs on a still picture."""

    enabled: Annotated[bool, option("Whether still frames are skipped.")] = True
    level: Annotated[
        int,
        option(
            "A pixel has changed when its luma differs by more than this.", unit="luma levels", ge=1, le=128
        ),
    ] = 12
    area: Annotated[Fraction, option("Share of changed pixels that counts as motion.")] = 0.005
    hold_s: Annotated[
        float, option("How long the gate stays open after the last motion.", unit="s", ge=0, le=60)
    ] = 2.0


class DetectionOptions(Section, frozen=True):
    """The face detector's decision."""

    score_threshold: Annotated[float, option("Faces below this score are ignored.", ge=0.3, le=0.99)] = 0.6
    nms_iou: Annotated[float, option("Overlap above which two boxes are one face.", ge=0.1, le=0.9)] = 0.3


class ZoneOptions(Section, frozen=True):
    """The presentation zone: a face outside it, too small or turned away is never embedded."""

    polygon: Annotated[
        list[Annotated[list[Fraction], Meta(min_length=2, max_length=2)]],
        option(
            "Corners (x, y) of the zone, as shares of the picture's width and height from the top left.",
            min_length=3,
            max_length=32,
        ),
    ] = msgspec.field(default_factory=lambda: [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    min_face_px: Annotated[
        int,
        option(
            "Smallest face box width, in pixels of the main stream. In 1280x720 the default detector is sure of faces "
            "from 96 px on. For a door farther away set models.detector to yunet-640x480: from 48 px on, slower.",
            unit="px",
            ge=48,
            le=2000,
        ),
    ] = 80
    max_yaw_deg: Annotated[float, option("Largest turn to the side.", unit="degrees", ge=5, le=60)] = 35.0
    max_pitch_deg: Annotated[float, option("Largest nod up or down.", unit="degrees", ge=5, le=60)] = 30.0
    max_roll_deg: Annotated[float, option("Largest tilt of the head.", unit="degrees", ge=5, le=60)] = 30.0


class RecognitionOptions(Section, frozen=True):
    """How a sighting is decided."""

    target_fpir: Annotated[
        float,
        option(
            "How many of a door's stranger visits may end in a match (1e-4: one in 10,000). The threshold follows "
            "from it, the gallery's size and the embedder's measured scores; `porter doctor` shows what to expect.",
            ge=1e-6,
            le=0.05,
        ),
    ] = 1e-4
    threshold: Annotated[
        Annotated[float, Meta(ge=0.3, le=0.95)] | None,
        option(
            "Fused cosine score from which a subject matches, whatever target_fpir says; null: as it says."
        ),
    ] = None
    margin: Annotated[float, option("Lead over the second subject that a match needs.", ge=0, le=0.5)] = 0.05
    hysteresis: Annotated[
        float, option("A running visit ends only this far below the threshold.", ge=0, le=0.3)
    ] = 0.08
    min_frames: Annotated[int, option("Samples that a decision needs.", unit="frames", ge=1, le=30)] = 3
    max_frames: Annotated[
        int, option("Samples after which a face is taken for a stranger's.", unit="frames", ge=1, le=100)
    ] = 10
    recheck_s: Annotated[
        float, option("After its decision a face is embedded only this often.", unit="s", ge=0.5, le=30)
    ] = 3.0
    min_quality: Annotated[Fraction, option("Samples of lower quality are not embedded.")] = 0.2
    track_gap_s: Annotated[
        float, option("A face may be lost for so long and still be the same track.", unit="s", ge=0.1, le=10)
    ] = 1.0
    visit_end_s: Annotated[
        float, option("A visit ends when its subject was not seen for so long.", unit="s", ge=0.5, le=120)
    ] = 5.0


class EnrolmentOptions(Section, frozen=True):
    """Enrolment at the device, and the consent it rests on."""

    references: Annotated[int, option("At most so many references are kept for a subject.", ge=5, le=8)] = 8
    min_quality: Annotated[Fraction, option("Samples of lower quality are not taken.")] = 0.4
    pose_wait_s: Annotated[
        float,
        option("So long a turn of the head is asked for; 0: none is asked for.", unit="s", ge=0, le=60),
    ] = 6.0
    timeout_s: Annotated[float, option("An enrolment gives up after so long.", unit="s", ge=10, le=600)] = (
        90.0
    )
    purpose: Annotated[
        str, option("What the consent is for, as written into its record.", min_length=3, max_length=200)
    ] = "recognition at this door"
    consent_months: Annotated[int, option("How long a consent lasts.", unit="months", ge=1, le=36)] = 12


class LogOptions(Section, frozen=True):
    """The log goes to standard error, which systemd hands to the journal. It never names a person."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], option("Least severity that is logged.")
    ] = "info"


class Config(Section, frozen=True):
    """All of `porter.yaml`. Every section and every option may be left out."""

    device: DeviceOptions = DeviceOptions()
    camera: CameraOptions = CameraOptions()
    optics: OpticsOptions = OpticsOptions()
    models: ModelOptions = ModelOptions()
    inference: InferenceOptions = InferenceOptions()
    motion: MotionOptions = MotionOptions()
    detection: DetectionOptions = DetectionOptions()
    zone: ZoneOptions = ZoneOptions()
    recognition: RecognitionOptions = RecognitionOptions()
    enrolment: EnrolmentOptions = EnrolmentOptions()
    events: EventOptions = EventOptions()
    mqtt: MqttOptions = MqttOptions()
    home_assistant: HomeAssistantOptions = HomeAssistantOptions()
    metrics: MetricsOptions = MetricsOptions()
    log: LogOptions = LogOptions()
