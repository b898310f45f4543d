"""A sample as bytes and back: one safetensors container with the image as JPEG and the masks as PNG."""

from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .classes import FULLER_MASKS, MASKS
from .sample import CameraModel, EgoState, Labels, Sample

JPEG_QUALITY = 95
MAX_SAMPLE_BYTES = 64 << 20


class CorruptSample(ValueError):
    """Bytes that are not a sample: truncated, of another format, or with contents that `Sample` refuses."""


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """The parts of a sample that are no arrays; `objects_known` and `risk` are None where there is no such label."""

    stamp: float
    source: str
    domain: str
    width: int
    height: int
    ego: EgoState | None = None
    objects_known: bool | None = None
    risk: float | None = None


def _image_bytes(extension: str, image: NDArray[np.uint8], *options: int) -> NDArray[np.uint8]:
    return cv2.imencode(extension, image, options)[1].reshape(-1)


def _image(data: NDArray[np.uint8], flags: int) -> NDArray[np.uint8]:
    image = cv2.imdecode(data, flags)
    if image is None:
        raise CorruptSample("an image in it does not decode")
    return image


def encode(sample: Sample) -> bytes:
    """The sample as bytes; the image loses what JPEG at quality 95 loses, everything else is exact."""
    camera, labels = sample.camera, sample.labels
    tensors: dict[str, NDArray[Any]] = {
        "image": _image_bytes(".jpg", sample.image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
        "intrinsics": camera.intrinsics.astype(np.float64),
        "base_from_camera": camera.base_from_camera.astype(np.float64),
    }
    if sample.points is not None:
        tensors["points"] = np.ascontiguousarray(sample.points)
    if sample.base_from_lidar is not None:
        tensors["base_from_lidar"] = sample.base_from_lidar.astype(np.float64)
    if labels is not None:
        masks = {name: getattr(labels, name) for name in (*MASKS, *FULLER_MASKS)}
        tensors |= {name: _image_bytes(".png", mask) for name, mask in masks.items() if mask is not None}
        tensors |= {"boxes": labels.boxes, "classes": labels.classes, "ignored": labels.ignored}
        if labels.solids is not None:
            tensors["solids"] = labels.solids
    header = Header(
        stamp=sample.stamp,
        source=sample.source,
        domain=sample.domain,
        width=camera.width,
        height=camera.height,
        ego=sample.ego,
        objects_known=labels.objects_known if labels else None,
        risk=None if labels is None or np.isnan(labels.risk) else labels.risk,
    )
    # numpy's scalars pass for floats everywhere else
    tensors["header"] = np.frombuffer(msgspec.json.encode(header, enc_hook=lambda scalar: scalar.item()), np.uint8)
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})


def decode(data: bytes) -> Sample:
    """The sample in `data`. Raises `CorruptSample`."""
    if len(data) > MAX_SAMPLE_BYTES:
        raise CorruptSample(f"{len(data)} bytes, at most {MAX_SAMPLE_BYTES}")
    try:
        tensors = load(data)
        header = _read_header(tensors)
        camera = CameraModel(header.width, header.height, tensors["intrinsics"], tensors["base_from_camera"])
        return Sample(
            image=np.ascontiguousarray(_image(tensors["image"], cv2.IMREAD_COLOR)[..., ::-1]),
            camera=camera,
            points=tensors.get("points"),
            base_from_lidar=tensors.get("base_from_lidar"),
            labels=_labels(tensors, header),
            ego=header.ego,
            stamp=header.stamp,
            source=header.source,
            domain=header.domain,
        )
    except (SafetensorError, KeyError, ValueError, cv2.error) as error:
        raise CorruptSample(f"not a sample: {error}") from error


def decode_header(data: bytes) -> Header:
    """What can be said of the sample in `data` without decoding its images. Raises `CorruptSample`."""
    try:
        return _read_header(load(data))
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptSample(f"not a sample: {error}") from error


def _read_header(tensors: dict[str, NDArray[Any]]) -> Header:
    return msgspec.json.decode(tensors["header"].tobytes(), type=Header)


def _labels(tensors: dict[str, NDArray[Any]], header: Header) -> Labels | None:
    if header.objects_known is None:
        return None
    masks = {name: _image(tensors[name], cv2.IMREAD_GRAYSCALE) for name in (*MASKS, *FULLER_MASKS) if name in tensors}
    return Labels(
        boxes=tensors["boxes"],
        classes=tensors["classes"],
        ignored=tensors["ignored"],
        objects_known=header.objects_known,
        solids=tensors.get("solids"),
        risk=np.nan if header.risk is None else header.risk,
        **masks,
    )
