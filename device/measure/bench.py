# SPDX-License-Identifier: Apache-2.0
"""Measure speed and memory, stage by stage, beside OpenCV.

Times fixed frames with one face, each one embedded and compared with a full gallery: the whole frame against its two
bare invokes, and against OpenCV's FaceDetectorYN and FaceRecognizerSF on the same frames (needs `--sources`, the folder
with the ONNX files), all in one loop, so that a busy machine disturbs all of them alike: ratios hold where milliseconds
do not. Then both services are started as processes. Writes bench.json into `--out`.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from device.adapters.models_folder import default_folder
from device.assembly import make_events, make_pipeline
from device.errors import InputError
from device.loaded_models import load_models
from device.measure.frames import bench_frames
from device.measure.peer_opencv import OpenCvPeer
from device.measure.processes import ProcessFigures, measure_processes
from device.measure.progress import Progress
from device.measure.report import machine, positive, table, write_json
from device.measure.stages import CAMERA_STAGE, FrameTimer, Laps
from device.options import Config

if TYPE_CHECKING:
    import argparse

WHOLE, BARE, PEER = "whole frame", "both invokes", "OpenCV pair"
BLOCK = 5  # so many frames of ours, then as many of OpenCV's: neither finds the other's weights in its cache
WARM_UP = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--sources", type=Path, help="folder of the ONNX sources, for OpenCV")
    parser.add_argument("--models", type=Path, default=default_folder(), help="models folder: %(default)s")
    parser.add_argument(
        "--runtime",
        choices=("auto", "ai-edge-litert", "tflite-runtime"),
        default="auto",
        help="default: auto",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        action="append",
        metavar="N",
        help="CPU threads a model may use; default: 1 and 2",
    )
    parser.add_argument("--rounds", type=positive, default=100, help="frames a thread count: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder of what is written: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Measures, prints, writes."""
    default_threads = Config().inference.threads
    counts = sorted(set(args.threads or (1, default_threads)))
    load = os.getloadavg()[0]
    print(f"load average before: {load:.2f}" + (" (other work runs here too)" if load > 0.5 else ""))
    timed: dict[int, Laps] = {}
    opencv: dict[str, Any] = {"version": None, "missing": "no --sources"}
    for threads in counts:
        timed[threads], opencv = time_frames(args, threads)
        print_frames(threads, timed[threads])
    if opencv["missing"]:
        print(f"\nOpenCV was not measured: {opencv['missing']}")
    with tempfile.TemporaryDirectory(prefix="porter-bench-") as folder, Progress("processes", 1) as progress:
        processes = measure_processes(Path(folder), args.models)
        progress.step()
    shown = default_threads if default_threads in timed else counts[-1]
    result = {
        "frame_over_invokes": over(timed[shown], WHOLE, BARE),
        "ours_over_opencv": over(timed[shown], WHOLE, PEER),
        "rss_mb": processes.rss_mb,
        "first_frame_s": median(processes.first_frame_s),
        "peak_rss_mb": processes.peak_rss_mb,
        "first_frames_s": processes.first_frame_s,
        "threads": {str(threads): as_json(laps) for threads, laps in timed.items()},
        "about": {
            **machine(),
            "main_threads": shown,
            "opencv": opencv,
            "load_average": load,
            "rounds": args.rounds,
        },
    }
    print_summary(result, processes)
    write_json(args.out / "bench.json", result)
    print(f"\nwritten: {args.out / 'bench.json'}")
    return 0


def time_frames(args: argparse.Namespace, threads: int) -> tuple[Laps, dict[str, Any]]:
    """All timings at one number of threads, and which OpenCV was measured or why none."""
    config = Config()
    config = msgspec.structs.replace(
        config,
        models=msgspec.structs.replace(config.models, folder=str(args.models)),
        inference=msgspec.structs.replace(
            config.inference, delegate="cpu", runtime=args.runtime, threads=threads
        ),
    )
    models = load_models(config)
    maker = make_events(config, models, "0" * 8, secrets.randbits)
    picture = models.detector.manifest.input
    frames = bench_frames((picture.width_px, picture.height_px))
    timer = FrameTimer(
        models, make_pipeline(config, models, maker), make_pipeline(config, models, maker), frames
    )
    peer, opencv = None, {"version": None, "missing": "no --sources: give the folder of the ONNX files"}
    if args.sources is not None:
        try:
            peer = OpenCvPeer(args.sources, models.detector.manifest, models.embedder.manifest, threads)
            opencv = {"version": peer.version, "missing": None}
        except InputError as error:
            opencv["missing"] = error.message
    prepared = [peer.prepare(frame) for frame in frames] if peer else []
    rounds = WARM_UP + args.rounds
    with Progress(f"frames, {threads} thread{'s' * (threads > 1)}", rounds) as progress:
        for number in range(rounds):
            if number == WARM_UP:
                timer.laps = Laps()
            timer.round()
            progress.step()
            if peer and number % BLOCK == BLOCK - 1:
                for index in range(number - BLOCK + 1, number + 1):
                    timer.laps.start()
                    peer.run(prepared[index % len(prepared)])
                    timer.laps.lap(PEER)
    return timer.laps, opencv


def over(laps: Laps, one: str, other: str) -> float | None:
    """The ratio of two medians; None where the other was not measured."""
    return laps.median(one) / laps.median(other) if other in laps.ms else None


def as_json(laps: Laps) -> dict[str, Any]:
    """One number of threads: ratios, and median and p95 of everything in milliseconds."""
    return {
        "frame_over_invokes": over(laps, WHOLE, BARE),
        "ours_over_opencv": over(laps, WHOLE, PEER),
        "stages": {name: {"median_ms": laps.median(name), "p95_ms": laps.p95(name)} for name in laps.ms},
    }


def print_frames(threads: int, laps: Laps) -> None:
    """The stages in order, then the wholes."""
    print(f"\nOne frame with one face, {threads} thread{'s' * (threads > 1)}, milliseconds")
    wholes = [name for name in (WHOLE, BARE, PEER) if name in laps.ms]
    names = (
        [name for name in laps.ms if name not in wholes and name != CAMERA_STAGE] + wholes + [CAMERA_STAGE]
    )
    rows = [(name, f"{laps.median(name):.3f}", f"{laps.p95(name):.3f}") for name in names]
    print(table(("stage", "median", "p95"), rows))


def print_summary(result: dict[str, Any], processes: ProcessFigures) -> None:
    """The figures that are watched."""
    rows = [
        (
            f"{threads} thread{'s' * (threads != '1')}",
            f"{figures['frame_over_invokes']:.3f}",
            f"{figures['ours_over_opencv']:.3f}" if figures["ours_over_opencv"] else "-",
        )
        for threads, figures in result["threads"].items()
    ]
    print()
    print(table(("", "frame / its invokes", "ours / OpenCV's pair"), rows))
    print()
    starts = ", ".join(f"{seconds:.2f}" for seconds in processes.first_frame_s)
    rows = [
        (name, f"{rss:.0f} MB", f"{processes.peak_rss_mb[name]:.0f} MB")
        for name, rss in processes.rss_mb.items()
    ]
    print(table(("process", "RSS", "peak"), rows))
    print(f"\nfirst frame done {result['first_frame_s']:.2f} s after start (starts: {starts})")
