"""Values and failures to the text that is recorded, and back; pure, it knows no database."""

from towpath.codec.annotations import fit_arguments
from towpath.codec.calls import read_call
from towpath.codec.choosing import ChosenCodec, codec_for
from towpath.codec.failures import decode_failure, encode_failure
from towpath.codec.json_codec import DEFAULT_MAX_BYTES, JsonCodec, as_recorded
from towpath.codec.pickle_codec import PickleCodec
from towpath.codec.protocol import ArgumentMismatchError, Codec, ValueNotDecodableError

__all__ = [
    "DEFAULT_MAX_BYTES",
    "ArgumentMismatchError",
    "ChosenCodec",
    "Codec",
    "JsonCodec",
    "PickleCodec",
    "ValueNotDecodableError",
    "as_recorded",
    "codec_for",
    "decode_failure",
    "encode_failure",
    "fit_arguments",
    "read_call",
]
