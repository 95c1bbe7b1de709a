# SPDX-License-Identifier: Apache-2.0
"""Letterboxing, quantisation tables and encoding, by hand and by property."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.ports import TensorDetail
from device.vision.tensors import InputEncoder, Normalisation, dequantise, letterbox, quantisation_table

YUNET_INPUT = TensorDetail("input", (1, 4, 6, 3), "int8", 1.0, -128)
YUNET = Normalisation("rgb", 0.0, 1.0)
SFACE = Normalisation("rgb", 127.5, 128.0)
PICTURE = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)


def levels(detail: TensorDetail, normalisation: Normalisation, *pixels: int) -> list[int]:
    return [int(quantisation_table(detail, normalisation)[pixel]) for pixel in pixels]


@pytest.mark.parametrize(
    ("size", "factor", "used"),
    [
        ((640, 480), 0.5, (320, 240)),
        ((1280, 720), 0.25, (320, 180)),
        ((640, 1024), 0.25, (160, 256)),
        ((320, 180), 1.0, (320, 180)),
        ((100, 50), 1.0, (100, 50)),
        ((320, 256), 1.0, (320, 256)),
    ],
)
def test_a_picture_is_fitted_into_the_top_left_corner_and_never_enlarged(
    size: tuple[int, int], factor: float, used: tuple[int, int]
) -> None:
    canvas, found = letterbox(np.full((size[1], size[0], 3), 200, np.uint8), 320, 256)
    assert found == factor
    assert canvas.shape == (256, 320, 3)
    assert (canvas[: used[1], : used[0]] == 200).all()
    assert not canvas[used[1] :].any()
    assert not canvas[:, used[0] :].any()


def test_a_smaller_pixel_is_the_mean_of_those_it_covers() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[1, 0], picture[1, 1] = 10, 20, 30, 40
    assert letterbox(picture, 4, 4)[0][0, 0].tolist() == [25, 25, 25]


def test_a_very_long_picture_keeps_a_row() -> None:
    canvas, factor = letterbox(np.full((1, 3200, 3), 9, np.uint8), 320, 256)
    assert factor == 0.1
    assert (canvas[0] == 9).all()


def test_the_table_of_yunet_is_the_pixel_less_128() -> None:
    assert levels(YUNET_INPUT, YUNET, 0, 1, 127, 128, 255) == [-128, -127, -1, 0, 127]


def test_the_table_of_sface_is_clipped_at_its_upper_end() -> None:
    # (x - 127.5) / 128 in steps of 1/128 is x - 127.5; the half rounds up, and 128 has no room in int8.
    detail = TensorDetail("input", (1, 4, 6, 3), "int8", 1 / 128, 0)
    assert levels(detail, SFACE, 0, 127, 128, 254, 255) == [-127, 0, 1, 127, 127]


def test_an_unsigned_input_uses_its_own_limits() -> None:
    detail = TensorDetail("input", (1, 4, 6, 3), "uint8", 2.0, 3)
    assert levels(detail, YUNET, 0, 2, 3, 255) == [3, 4, 5, 131]


def test_dequantising_takes_the_zero_point_off_and_multiplies() -> None:
    detail = TensorDetail("out", (3,), "int8", 0.5, -10)
    assert dequantise(np.array([-128, -10, 127], np.int8), detail).tolist() == [-59.0, 0.0, 68.5]


def test_a_float_tensor_comes_back_as_a_copy() -> None:
    raw = np.array([1.5, -2.0], np.float32)
    real = dequantise(raw, TensorDetail("out", (2,), "float32"))
    raw[:] = 0
    assert real.tolist() == [1.5, -2.0]


@given(
    scale=st.floats(1e-3, 4.0),
    zero_point=st.integers(-128, 127),
    offset=st.floats(-200, 200),
    divisor=st.floats(1.0, 256.0),
)
def test_a_round_trip_through_the_levels_loses_at_most_half_a_step(
    scale: float, zero_point: int, offset: float, divisor: float
) -> None:
    detail = TensorDetail("input", (1, 4, 6, 3), "int8", scale, zero_point)
    table = quantisation_table(detail, Normalisation("rgb", offset, divisor))
    values = (np.arange(256) - offset) / divisor
    inside = (table > -128) & (table < 127)
    error = np.abs(dequantise(table, detail) - values)[inside]
    assert (error <= scale / 2 + 1e-4 * (1 + np.abs(values[inside]))).all()


def test_the_fast_way_for_yunet_gives_what_the_table_gives() -> None:
    encoded = InputEncoder(YUNET_INPUT, YUNET).encode(PICTURE)
    assert encoded.shape == (1, 4, 6, 3)
    assert encoded.dtype == np.int8
    assert np.array_equal(encoded[0], PICTURE.astype(np.int16) - 128)


def test_blue_comes_first_where_the_manifest_says_so() -> None:
    encoded = InputEncoder(YUNET_INPUT, Normalisation("bgr", 0.0, 1.0)).encode(PICTURE)
    assert np.array_equal(encoded[0], PICTURE[..., ::-1].astype(np.int16) - 128)


def test_a_float_input_is_normalised_by_offset_and_scale() -> None:
    encoded = InputEncoder(TensorDetail("input", (1, 4, 6, 3), "float32"), SFACE).encode(PICTURE)
    assert encoded.dtype == np.float32
    assert np.allclose(encoded[0], (PICTURE.astype(np.float64) - 127.5) / 128)


def test_encoding_leaves_the_picture_as_it_was() -> None:
    before = PICTURE.copy()
    for detail in (YUNET_INPUT, TensorDetail("input", (1, 4, 6, 3), "float32")):
        InputEncoder(detail, Normalisation("bgr", 1.0, 2.0)).encode(PICTURE)
    assert np.array_equal(PICTURE, before)


def test_a_grey_input_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 channels"):
        InputEncoder(TensorDetail("input", (1, 4, 6, 1), "int8", 1.0, 0), YUNET)
