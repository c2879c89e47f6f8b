"""Data blobs: small values that a participant keeps for others to read, such as the schemas of its
data tracks (livekit-server ``pkg/rtc/participant_data_blob.go``). Pure.
"""

from __future__ import annotations

from livekit.protocol import models, rtc

from lkpy.limits import Limits
from lkpy.server.rtc.data_tracks import INVALID_ENCODING, valid_encoding

Reason = rtc.RequestResponse.Reason


class DataBlobs:
    """The blobs of one participant, gone when it leaves."""

    def __init__(self) -> None:
        self._blobs: dict[str, models.DataBlob] = {}

    def refusal(self, blob: models.DataBlob, limits: Limits) -> tuple[Reason, str]:
        """Why a blob cannot be stored, and ``OK`` if it can. One that replaces another is counted
        beside it, as in LiveKit."""
        key = key_text(blob.key)
        longest, most = limits.max_data_blob_key_length, limits.max_data_blobs_size
        if not key or len(key.encode()) > longest > 0:
            return Reason.INVALID_REQUEST, "data blob is invalid"
        if not valid_encoding(blob.key.schema_id.encoding, limits):
            return Reason.INVALID_REQUEST, INVALID_ENCODING
        if not blob.contents:
            return Reason.INVALID_REQUEST, "data blob is empty"
        stored = [(text, known.contents) for text, known in self._blobs.items()]
        size = sum(len(text.encode()) + len(data) for text, data in (*stored, (key, blob.contents)))
        if size > most > 0:
            return Reason.LIMIT_EXCEEDED, "async attribute definition exceeds limit"
        return Reason.OK, ""

    def store(self, blob: models.DataBlob) -> None:
        """Keep a blob that is not refused, in place of the one with the same key."""
        self._blobs[key_text(blob.key)] = blob

    def get(self, key: models.DataBlobKey) -> models.DataBlob | None:
        """The blob with this key."""
        return self._blobs.get(key_text(key))


def key_text(key: models.DataBlobKey) -> str:
    """The text form of a key, whose length LiveKit bounds; empty for a key without value."""
    match key.WhichOneof("key"):
        case "generic":
            return f"generic:{_quoted(key.generic)}"
        case "schema_id":
            return f"schema_id:{{{_schema_text(key.schema_id)}}}"
        case _:
            return ""


def _schema_text(schema: models.DataTrackSchemaId) -> str:
    fields = [f"name:{_quoted(schema.name)}"] if schema.name else []
    encoding = schema.encoding
    match encoding.WhichOneof("value"):
        case "well_known":
            names = models.DataTrackSchemaEncoding.WellKnownSchemaEncoding
            known = encoding.well_known in names.values()
            value = names.Name(encoding.well_known) if known else str(encoding.well_known)
            fields.append(f"encoding:{{well_known:{value}}}")
        case "custom":
            fields.append(f"encoding:{{custom:{_quoted(encoding.custom)}}}")
        case _ if schema.HasField("encoding"):
            fields.append("encoding:{}")
        case _:
            pass
    return " ".join(fields)


_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)} | {
    ord('"'): '\\"',
    ord("\\"): "\\\\",
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}


def _quoted(text: str) -> str:
    """As Go's protobuf text format writes a string."""
    return f'"{text.translate(_ESCAPES)}"'
