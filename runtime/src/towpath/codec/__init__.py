"""Values and failures to the text that is recorded, and back; pure, it knows no database."""

from towpath.codec.failures import decode_failure, encode_failure
from towpath.codec.json_codec import DEFAULT_MAX_BYTES, JsonCodec
from towpath.codec.protocol import Codec, ValueNotDecodableError

__all__ = [
    "DEFAULT_MAX_BYTES",
    "Codec",
    "JsonCodec",
    "ValueNotDecodableError",
    "decode_failure",
    "encode_failure",
]
