"""Images of a question: placeholders in its text, and files that cannot be trusted."""

import io
import struct
import zlib

import pytest

from ptagrpo.errors import DataError
from ptagrpo.images import (
    MAX_PIXELS,
    canonical_placeholders,
    check_placeholders,
    content_parts,
    image_order,
    open_image,
)


def png(width, height, body=b""):
    """A PNG that claims this size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + chunk(b"IEND", b"")
    )


def picture(size=(5, 3), mode="RGB", form="PNG"):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    buffer = io.BytesIO()
    image.effect_noise(size, 80).convert(mode).save(buffer, form)
    return buffer.getvalue()


def test_placeholders_of_all_spellings_and_their_order():
    assert (
        canonical_placeholders("<image_1>, <image2>, <image 3> <image>")
        == "<image 1>, <image 2>, <image 3> <image>"
    )
    assert image_order("<image 2> then <image 1>, <image 2>") == [2, 1, 2]
    parts = content_parts("First <image 2>, then <image 1>.", ["a", "b", "c"])
    assert parts == [
        {"type": "image", "image": "c"},  # nobody mentions it: before the text
        {"type": "text", "text": "First "},
        {"type": "image", "image": "b"},
        {"type": "text", "text": ", then "},
        {"type": "image", "image": "a"},
        {"type": "text", "text": "."},
    ]
    twice = content_parts("<image 1><image 1>", ["a"])
    assert [part["image"] for part in twice] == ["a", "a"]


def test_placeholders_that_do_not_fit_are_named():
    check_placeholders("<image 1> <image 2>", 2)
    with pytest.raises(ValueError, match="has <image 3>, the row has 2 images"):
        check_placeholders("<image 1> <image 3>", 2)
    with pytest.raises(ValueError, match="has <image 0>, the row has 1 image$"):
        check_placeholders("<image 0>", 1)
    with pytest.raises(ValueError, match="<image 1> 2 times; expected each image once"):
        check_placeholders("<image 1> <image 1>", 1)
    check_placeholders("<image 1> <image 1>", 1, repeats=True)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1"])
def test_images_are_opened_as_rgb_from_paths_and_bytes(tmp_path, mode):
    data = picture(mode=mode)
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png", str(tmp_path / "a.png")):
        image = open_image(source)
        assert image.mode == "RGB" and image.size == (5, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "not an image"),
        (png(0, 4), "0 x 4 pixels|not an image|damaged"),
        (png(12_000, 12_000), f"12000 x 12000 pixels, the limit is {MAX_PIXELS:,}"),
        (png(200_000, 200_000), "too large|200000 x 200000"),
        (png(64, 64, b"\0" * 100), "damaged or cut off"),
        ("truncated png", "damaged or cut off"),
        ("truncated jpeg", "damaged or cut off"),
    ],
)
def test_bad_images_are_named_and_never_decoded_in_part(tmp_path, data, message):
    whole = {"truncated png": ("PNG", 0.6), "truncated jpeg": ("JPEG", 0.6)}
    if data in whole:
        form, share = whole[data]
        data = picture((90, 90), form=form)
        data = data[: int(len(data) * share)]
    else:
        pytest.importorskip("PIL", reason="Pillow is not installed")
    with pytest.raises(DataError, match=rf"question 'q', image 1: .*({message})"):
        open_image(data, "question 'q', image 1")
    (tmp_path / "bad.png").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        open_image(tmp_path / "bad.png")
    assert caught.value.file == str(tmp_path / "bad.png")


def test_a_missing_file_and_a_missing_pillow(tmp_path, monkeypatch):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    with pytest.raises(DataError, match="no.png: image: cannot be read .No such file"):
        open_image(tmp_path / "no.png")
    with pytest.raises(DataError, match="cannot be read"):
        open_image(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ValueError, match=r"pip install 'ptagrpo\[vision\]'"):
        open_image(b"x")


def test_every_real_image_opens(shared_data):
    pytest.importorskip("PIL", reason="Pillow is not installed")
    folder = shared_data / "multimodal"
    files = [file for file in folder.rglob("*") if file.suffix.lower() in {".png", ".jpg", ".jpeg"}]
    assert len(files) > 100
    assert all(min(open_image(file).size) >= 1 for file in files)
