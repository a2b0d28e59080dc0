"""Who reads a text: the codec that wrote it, if the App was given it; JSON always; no other."""

from __future__ import annotations

import base64
import dataclasses
import os
from typing import Any

import pytest

from tests.fixtures.codecs import ZlibCodec
from towpath.codec import (
    ChosenCodec,
    Codec,
    JsonCodec,
    PickleCodec,
    ValueNotDecodableError,
    as_recorded,
    codec_for,
    read_call,
)
from towpath.domain.errors import ConfigurationError, ValueNotEncodableError, ValueTooLargeError


@dataclasses.dataclass
class Order:
    """What a call is given."""

    number: int


class Evil:
    """A pickle that acts when it is read."""

    def __reduce__(self) -> Any:
        """Leave a trace."""
        return os.putenv, ("TOWPATH_TEST_EVIL", "1")


class Unpicklable:
    """A value that no pickle takes."""

    def __reduce__(self) -> Any:
        """Refuse."""
        raise RuntimeError("not me")


OWN = ChosenCodec(ZlibCodec())


def unreadable(codec: Codec, text: str) -> ValueNotDecodableError:
    """Return the error of a text that is not read."""
    with pytest.raises(ValueNotDecodableError) as caught:
        codec.decode(text)
    return caught.value


def test_a_codec_of_the_apps_reads_its_own_and_json() -> None:
    """A result says by itself who wrote it, for its row does not."""
    text = OWN.encode({"a": Order(1)})
    assert text.startswith("#zlib:")
    assert OWN.decode(text) == {"a": Order(1)}
    assert OWN.decode('{"a":1}') == {"a": 1}
    assert OWN.decode("null") is None
    assert OWN.decode_input(OWN.encode_input((1,), {"b": 2})) == ([1], {"b": 2})


def test_a_text_of_another_codec_names_both() -> None:
    """Whoever reads it learns what to give the App."""
    text = OWN.encode(1)
    for reader in (JsonCodec(), ChosenCodec(ZlibCodec("gzip")), ChosenCodec(PickleCodec())):
        error = unreadable(reader, text)
        assert error.codec == reader.name
        assert "'zlib'" in error.reason
        assert "App(codec=...)" in str(error)


def test_the_row_decides_and_only_between_the_apps_codec_and_json() -> None:
    """A row of any other codec is an error that names both."""
    assert codec_for("zlib", OWN) is OWN
    assert codec_for("json", OWN).name == "json"
    plain = JsonCodec()
    assert codec_for("json", plain) is plain
    for own in (plain, OWN):
        with pytest.raises(ValueNotDecodableError) as caught:
            codec_for("gzip", own)
        assert caught.value.codec == own.name
        assert "'gzip'" in str(caught.value)


def test_no_row_makes_an_app_read_a_pickle() -> None:
    """Neither by its codec's name nor by its text."""
    pickled = ChosenCodec(PickleCodec()).encode(Evil())
    for own in (JsonCodec(), OWN):
        assert "pickle" in unreadable(own, pickled).reason
        with pytest.raises(ValueNotDecodableError, match="pickle"):
            read_call(own, "pickle", pickled, print)
        with pytest.raises(ValueNotDecodableError, match="pickle"):
            read_call(own, "json", pickled, print)
    assert os.environ.get("TOWPATH_TEST_EVIL") is None


def test_a_pickle_app_takes_any_value_within_its_bound() -> None:
    """Sets, classes, keys of any type; what cannot be pickled is refused."""
    codec = ChosenCodec(PickleCodec(max_bytes=200))
    value = {1: {2, 3}, "kind": Order, "z": 1j}
    assert codec.decode(codec.encode(value)) == value
    assert codec.decode_input(codec.encode_input(({1},), {"a": Order(1)})) == (
        [{1}],
        {"a": Order(1)},
    )
    with pytest.raises(ValueNotEncodableError, match="not me"):
        codec.encode([Unpicklable()])
    with pytest.raises(ValueTooLargeError) as caught:
        codec.encode("x" * 200)
    assert caught.value.size > caught.value.bound == 200
    assert "pickle" in str(unreadable(codec, "#pickle:%%"))
    assert "pickle" in str(unreadable(codec, "#pickle:" + base64.b64encode(b"junk").decode()))


def test_an_error_of_the_applications_codec_is_named() -> None:
    """A wrong key or a broken text is no crash of the library's."""
    error = unreadable(OWN, "#zlib:AAAA")
    assert error.codec == "zlib"
    assert "error" in error.reason
    with pytest.raises(ValueNotDecodableError):
        OWN.decode_input("#zlib:AAAA")


def test_a_text_that_postgres_cannot_hold_is_refused_where_it_is_made() -> None:
    """In the caller's stack, not in a worker's batch."""
    codec = ZlibCodec("nul")
    codec._pack = lambda text: text + "\0"  # type: ignore[method-assign]
    with pytest.raises(ValueNotEncodableError, match=r"U\+0000"):
        ChosenCodec(codec).encode(1)


@pytest.mark.parametrize("name", ["json", "", "a b", "x:y", "x" * 101])
def test_a_codec_has_a_name_that_tells_its_texts_apart(name: str) -> None:
    """JSON's is taken: others write under it."""
    with pytest.raises(ConfigurationError, match="codec name"):
        ChosenCodec(ZlibCodec(name))


def test_a_class_that_moved_is_found_by_the_functions_annotations() -> None:
    """Through a codec of the application's too."""

    def function(order: Order) -> None: ...

    moved = Order(1)
    text = JsonCodec().encode_input((moved,), {}).replace(f"{__name__}:", "old_shop:")
    for own in (JsonCodec(), OWN):
        assert read_call(own, "json", text, function) == ([Order(1)], {})
        with pytest.raises(ValueNotDecodableError, match="old_shop:Order"):
            read_call(own, "json", text, print)


def test_what_cannot_be_read_is_shown_as_it_is_recorded() -> None:
    """For people who look at workflows without their code."""
    assert as_recorded('{"$towpath":"x"}') == {"$towpath": "x"}
    assert as_recorded("#zlib:abc") == "#zlib:abc"
