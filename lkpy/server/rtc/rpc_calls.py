"""RPC calls that the server makes to one participant (livekit-server ``pkg/rtc/participant.go``
PerformRpc, protocol ``utils/data_channel_rpc.go``).

A call is a request on the reliable data channel; the participant acknowledges it and then answers.
Both come as data packets with the call's id and go no further.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field

from livekit.protocol import models
from livekit.protocol import room as room_pb

from lkpy.clock import Clock
from lkpy.errors import Code, LkpyError
from lkpy.limits import MAX_RPC_CALLS, RPC_ACK_S, RPC_PAYLOAD_MAX, RPC_RESPONSE_S
from lkpy.server.rtc.timers import Timers

_VERSION = 1

_CONNECTION_TIMEOUT = 1501
_RESPONSE_TIMEOUT = 1502
_RECIPIENT_DISCONNECTED = 1503
_REQUEST_TOO_LARGE = 1402

# psrpc has codes of its own for a malformed request (1402) and response (1504); Twirp's callers see
# what they become on the way (psrpc ``errors.go`` ToGRPC).
_CODES = {
    1400: Code.INVALID_ARGUMENT,
    1401: Code.NOT_FOUND,
    _REQUEST_TOO_LARGE: Code.INVALID_ARGUMENT,
    1403: Code.UNIMPLEMENTED,
    1404: Code.UNIMPLEMENTED,
    1500: Code.INTERNAL,
    _CONNECTION_TIMEOUT: Code.CANCELED,
    _RESPONSE_TIMEOUT: Code.CANCELED,
    _RECIPIENT_DISCONNECTED: Code.UNAVAILABLE,
    1504: Code.INTERNAL,
    1505: Code.INTERNAL,
}
_MESSAGES = {
    _REQUEST_TOO_LARGE: "Request payload too large",
    _CONNECTION_TIMEOUT: "Connection timeout",
    _RESPONSE_TIMEOUT: "Response timeout",
    _RECIPIENT_DISCONNECTED: "Recipient disconnected",
}


def rpc_error(code: int, message: str = "", data: str = "") -> LkpyError:
    """An RPC error as an API error; codes of applications are ``internal``."""
    words = [f"RpcError {code}", message or _MESSAGES.get(code, ""), *([data] if data else [])]
    return LkpyError(_CODES.get(code, Code.INTERNAL), ": ".join(words))


@dataclass(slots=True)
class _Call:
    result: asyncio.Future[str] = field(default_factory=asyncio.Future)
    """Set on the room's task, awaited by the caller."""
    acknowledged: bool = False


class RpcCalls:
    """The calls that wait for this participant. Only the room's task touches it."""

    def __init__(self, sid: str, timers: Timers, clock: Clock) -> None:
        self._sid = sid
        self._timers = timers
        self._clock = clock
        self._calls: dict[str, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def begin(
        self, request: room_pb.PerformRpcRequest
    ) -> tuple[models.DataPacket, asyncio.Future[str]]:
        """Begin a call: the packet to send, and where its answer will be. Raises
        :class:`LkpyError` when it cannot be made."""
        if len(request.payload.encode()) > RPC_PAYLOAD_MAX:
            raise rpc_error(_REQUEST_TOO_LARGE)
        if len(self._calls) >= MAX_RPC_CALLS:
            raise LkpyError(
                Code.RESOURCE_EXHAUSTED,
                f"{MAX_RPC_CALLS} RPC calls wait for this participant already",
            )
        identifier = str(uuid.uuid4())
        timeout_ms = request.response_timeout_ms or round(RPC_RESPONSE_S * 1000)
        call = self._calls[identifier] = _Call()
        call.result.add_done_callback(lambda _: self._forget(identifier))
        self._fail_after(identifier, RPC_ACK_S, _CONNECTION_TIMEOUT)
        self._fail_after(identifier, timeout_ms / 1000, _RESPONSE_TIMEOUT)
        # The answer is addressed to who called: to the call itself, for lack of an identity.
        packet = models.DataPacket(
            kind=models.DataPacket.RELIABLE,
            participant_identity=identifier,
            rpc_request=models.RpcRequest(
                id=identifier,
                method=request.method,
                payload=request.payload,
                response_timeout_ms=timeout_ms,
                version=_VERSION,
            ),
        )
        return packet, call.result

    def take(self, packet: models.DataPacket) -> bool:
        """Take a packet that is about one of these calls; False: it is not."""
        match packet.WhichOneof("value"):
            case "rpc_ack":
                return self._acknowledged(packet.rpc_ack.request_id)
            case "rpc_response":
                return self._answered(packet.rpc_response)
            case _:
                return False

    def _acknowledged(self, identifier: str) -> bool:
        call = self._calls.get(identifier)
        if call is None or call.acknowledged:
            return False
        call.acknowledged = True
        self._timers.cancel((self._sid, identifier, _CONNECTION_TIMEOUT))
        return True

    def _answered(self, response: models.RpcResponse) -> bool:
        call = self._calls.get(response.request_id)
        if call is None:
            return False
        if response.HasField("error"):
            error = response.error
            self._fail(response.request_id, rpc_error(error.code, error.message, error.data))
        elif not call.result.done():
            call.result.set_result(response.payload)
        return True

    def close(self) -> None:
        """The participant leaves: nobody will answer."""
        for identifier in list(self._calls):
            self._fail(identifier, rpc_error(_RECIPIENT_DISCONNECTED))

    def _fail_after(self, identifier: str, after_s: float, code: int) -> None:
        self._timers.set(
            (self._sid, identifier, code),
            self._clock.now() + after_s,
            lambda: self._fail(identifier, rpc_error(code)),
        )

    def _fail(self, identifier: str, error: LkpyError) -> None:
        call = self._calls.get(identifier)
        if call is not None and not call.result.done():
            call.result.set_exception(error)

    def _forget(self, identifier: str) -> None:
        self._calls.pop(identifier, None)
        for code in (_CONNECTION_TIMEOUT, _RESPONSE_TIMEOUT):
            self._timers.cancel((self._sid, identifier, code))
