"""Every limit in one place, with LiveKit's defaults.

Sizes are bytes, times are seconds unless the name says otherwise. Sources are livekit-server's
``pkg/config/config.go`` and the files named beside a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that configuration may change (``limit.*`` of livekit.yaml)."""

    max_metadata_size: int = 512 * 1024
    max_attributes_size: int = 64 * 1024
    max_room_name_length: int = 256
    max_participant_identity_length: int = 256
    max_participant_name_length: int = 256
    signal_message_size_limit: int = 2 * 1024 * 1024
    agent_signal_message_size_limit: int = 2 * 1024 * 1024
    max_api_request_body_size: int = 10 * 1024 * 1024
    max_data_blob_key_length: int = 256
    max_data_blobs_size: int = 64_000
    max_data_track_custom_encoding_length: int = 32
    num_tracks: int = 0
    subscription_limit_video: int = 0
    subscription_limit_audio: int = 0
    """Tracks that one participant may receive at a time; 0: any number."""
    bytes_per_sec: float = 0.0


DEFAULT_LIMITS = Limits()


def attributes_size(attributes: Mapping[str, str]) -> int:
    """What ``max_attributes_size`` bounds: the bytes of keys and values together."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in attributes.items())


# -- sizes and counts ---------------------------------------------------------------------------
JOIN_REQUEST_MAX = 1024 * 1024
"""Decoded ``join_request``, before and after gunzip (Go ``http.DefaultMaxHeaderBytes``)."""
WHIP_BODY_MAX = 1024 * 1024
"""An offer or a fragment of WHIP (``pkg/service/whipservice.go``)."""
MESSAGE_CHANNEL_SIZE = 200
"""Messages a signal channel holds (``pkg/routing/messagechannel.go``)."""
MAX_PENDING_TRACKS = 20
MAX_RELEASED_TRACKS = 32
"""Tracks of which a participant sent nothing and that made room for others, whose names are known
(``pkg/rtc/participant.go``)."""
MAX_CIDS = 64
"""Names that clients may give one track, one for each of its codecs; LiveKit has no bound here."""
MAX_QUEUED_TRACKS_PER_CID = 3
"""``pkg/rtc/participant.go``."""
UPDATE_CHUNK = 128 * 1024
"""Serialised size at which a ParticipantUpdate is split."""
USER_PACKET_NONCES = 100
RELIABLE_CATCH_UP_BYTES = 100_000
RELIABLE_CATCH_UP_S = 10.0
"""Reliable data that was sent with a number, given to participants when they have joined
(``pkg/rtc/room.go`` dataMessageCache)."""
AGENT_REGISTER_S = 10.0
"""Until a worker has to have registered (``pkg/agent/worker.go`` RegisterTimeout)."""
AGENT_ANSWER_S = 10.0
"""Until a worker has to have said whether it takes a job (the same, AssignJobTimeout)."""
AGENT_LEAVES_S = 3.0
"""Until an agent whose job was taken away is removed (``pkg/rtc/room.go``)."""
AGENT_TOKEN_TTL_S = 3600.0
"""Life of an agent's token (protocol ``agent/token.go``)."""
AGENT_REQUESTS_AT_ONCE = 50
"""Jobs for which a worker is looked for at a time (``pkg/agent/client.go``)."""
AGENT_OFFERS = 1_000
AGENT_WORKER_JOBS = 10_000
"""Jobs that one worker was asked about and has not answered, and that it has."""
AGENT_MESSAGES = 4_096
"""Messages that wait for one worker; one that reads more slowly loses its connection."""
AGENT_JOBS_LISTED = 1_000
"""Jobs of one dispatch that are listed: the newest."""
AGENT_PUBLISHERS = 100_000
"""Identities of which a room knows that they have published before."""
JOINING_UNNUMBERED_BYTES = 100_000
"""Reliable data without a number, for one by the server API, kept for one participant that joins
(``pkg/rtc/participant.go`` cMaxJoiningUnsequencedReliableBytes); more is lost."""
RELIABLE_REPLAY_BYTES = 4 * 1024 * 1024
RELIABLE_REPLAY_S = 20.0
"""Reliable data that a room remembers for a participant whose channel broke: for as long as a lost
connection may be resumed, and no longer than clients remember what they received (30 s)."""
MAX_RPC_CALLS = 1000
"""RPC calls of the server that one participant has not answered; LiveKit has no bound here."""
RPC_PAYLOAD_MAX = 15_360
"""Payload of an RPC request (protocol ``utils/data_channel_rpc.go``)."""
DATA_MESSAGE_MAX = 65_535
"""SCTP ``a=max-message-size`` advertised and enforced."""
MAX_REMOTE_CANDIDATES = 100
"""Remote candidates held before a description; LiveKit has no bound here."""
CANDIDATE_MAX = 4096
"""Characters of a trickled candidate; LiveKit has no bound here."""
MAX_IDS = 1024
"""Ids that one signal request names; LiveKit has no bound here but the frame's."""
MAX_ENTRIES = 64
"""Elements of lists in signal requests of which there are few: codecs, layers, features."""
MAX_STRING = 4096
"""Characters of any other string in a signal request: names, cids, sids."""
SIGNAL_TEXT_FRAME = 64 * 1024
SIGNAL_TEXT_VALUES = 2048
"""Of a signal message as JSON text, inflated: bytes, and values. Reading one costs as much as
reading twenty times as many bytes of protobuf."""
SIGNAL_UNITS_PER_S = 200.0
SIGNAL_UNITS_BURST = 2000.0
"""What the requests of one signal connection may cost, in units of about 0.1 ms of the event loop:
a small request is one. Beyond them its requests wait. LiveKit has no bound here."""
SIGNAL_SPARSE_FRAME = 8 * 1024
"""Bytes of a signal frame that is decoded without a look at what it is made of."""
SIGNAL_VALUES = 32_768
"""Values of a larger one, which take 2 MB at most; fewer where that is less than six bytes each."""
MAX_MEDIA_SECTIONS = 1024
"""m-lines in one description; LiveKit has no bound here."""
MAX_OFFERED_SECTIONS = 512
"""m-lines in an offer of a client, which all are described in the answer at once."""
MAX_RECEIVED_TRACKS = 960
MAX_RECEIVED_TRACKS_SINGLE_PC = 480
"""Tracks that one participant receives at a time: each has an m-line. Further ones wait, as with
``limit.subscription_limit_*``. LiveKit has no bound here."""
SDP_LINES = 16_384
"""Lines of a description without those of codecs and header extensions. LiveKit has no bound on any
of these."""
SDP_LINE = 8192
"""Characters of such a line."""
SDP_CODEC_BLOCK = 16_384
"""Characters of a section's lines about codecs and header extensions; a browser's have 6,000."""
SDP_CODEC_LINES = 2048
"""Such lines of all sections that are not the same as others'; a browser has a few hundred."""
SDP_FORMATS = 128
"""Formats of an m-line: there are no more payload types."""
SDP_CANDIDATES = 256
"""ICE candidates in one description."""
SDP_IGNORED = 16
"""Reasons kept of why lines of a description say nothing."""
SDP_SLICED = 32 * 1024
"""Characters of a description that is parsed in slices."""
SDP_SLICE = 1000
"""Lines that make a slice: about a millisecond."""
MAX_DATA_TRACKS = 1024
"""Data tracks that one participant may publish; LiveKit has no bound but the handles' 16 bits."""
MAX_SUBSCRIPTIONS = 4096
"""Tracks that one participant may have wishes about; LiveKit has no bound here."""
HTTP_HEADER_MAX = 64 * 1024
"""Bytes that a connection may hold for a client that is not known yet: a header, or a header and a
body. Go bounds a header by ``DefaultMaxHeaderBytes``, 1 MiB, and bodies by nothing."""
HTTP_LINE_MAX = JOIN_REQUEST_MAX + 4096
"""Bytes of a request line of ``/rtc``, which is not counted as header (``DefaultMaxHeaderBytes``):
the ``join_request`` of a client with hundreds of tracks is longer than other headers. These lose
first when :data:`HTTP_UNAUTHENTICATED_MAX` is reached."""
HTTP_PATH_MAX = 2048
"""Bytes of a method and a path. Ours are short, and aiohttp's router looks at every part of one in
time that grows with the square of their number."""
HTTP_PARAMETERS_MAX = 256
"""Parameters of a query or a form."""
JOIN_VALUES_MAX = 12_288
"""Fields in a ``join_request``: the ids of three lists of :data:`MAX_SUBSCRIPTIONS`. Counting them
takes some milliseconds."""
ATTRIBUTES_VALUES_MAX = 2048
CAPABILITIES_MAX = 64
"""Attributes and capabilities of a join in the query form."""
HTTP_UNAUTHENTICATED_MAX = 10 * 1024 * 1024
"""Bytes that all connections together hold for clients that are not known yet."""
API_JSON_MAX = 5 * 256 * 1024
"""Bytes of a call in JSON: the longest metadata and attributes, every character of them escaped."""
API_VALUES_MAX = 8192
"""Values in a call: members, elements and fields. LiveKit has no bound here."""
HTTP_BACKLOG = 4096
"""Connections that wait to be accepted; the kernel takes its own limit (``somaxconn``) if lower."""
HTTP_ACCEPTED_PER_TURN = 24
"""Connections that are accepted in one turn of the event loop: in a storm a fifth of it."""
HTTP_ACCEPT_PAUSE_S = 1.0
"""Without descriptors left for connections, until the next is tried."""
ROOM_INBOX = 10_000
"""Messages waiting for a room's task."""
ROOM_INBOX_RESERVE = 10_000
"""Beyond them, for what must not be lost: states of transports, ends of connections."""
WEBHOOK_DEPTH = 200
"""Webhooks waiting per resource and URL (protocol ``webhook/resource_url_notifier.go``)."""
WEBHOOK_QUEUED = 10_000
"""Webhooks waiting per URL, whatever they are about; LiveKit has no bound here."""
WEBHOOK_IN_FLIGHT = 100
"""Webhooks being sent to one URL at the same time; LiveKit has no bound here."""
WEBHOOK_RETRIES = 4
"""After the first attempt (hashicorp/go-retryablehttp)."""

# -- times --------------------------------------------------------------------------------------
PING_INTERVAL_S = 5
PING_TIMEOUT_S = 15
WS_PING_INTERVAL_S = 10.0
WS_PING_TICK_S = 0.25
"""Pings go out on multiples of this, at most so much early."""
WS_WRITE_TIMEOUT_S = 2.0
WS_SEND_TIMEOUT_S = 10.0
"""For a peer to take what it is sent, at any time and when its connection ends; LiveKit waits
without end but for pings."""
SIGNAL_HELD_BACK_S = 60.0
"""A client that sends more than its share for so long loses its connection."""
HTTP_HEADER_TIMEOUT_S = 10.0
"""From connecting, or from the first byte of a further request, to the end of the header; LiveKit
has no bound here."""
HTTP_BODY_TIMEOUT_S = 30.0
HTTP_WRITE_TIMEOUT_S = 30.0
"""For a client that has been sent more than its socket holds to read of it."""
HTTP_LINGER_S = 1.0
"""For a client whose body is not wanted to read the answer."""
HTTP_KEEPALIVE_S = 75.0
"""Between two requests of a connection; longer than load balancers keep theirs by default."""
WS_LINGER_S = 0.5
"""For a client that is still sending to read why its connection ends."""
JOIN_VERIFY_S = 60.0
PC_CLEANUP_S = 5.0
"""Between a failed peer connection and the participant's removal."""
CONNECT_AFTER_ICE_FACTOR = 3.0
CONNECT_AFTER_ICE_MIN_S = 10.0
CONNECT_AFTER_ICE_MAX_S = 20.0
"""DTLS must be connected after a multiple of the time that ICE took, within these bounds
(``pkg/rtc/transport.go``)."""
RESUME_REPAIR_S = 15.0
"""After a resume, for a connection that had failed to be repaired by an ICE restart: as long as
ICE itself takes to fail. LiveKit has no bound here."""
SIMULATED_DISCONNECT_S = 5.0
"""For which a simulated signal disconnect on resume stays armed (``pkg/rtc/room.go``)."""
SIMULATED_DISCONNECTS_SILENT = 1
"""LiveKit's three are one for a client: its service layer tries so often to start a session."""
ICE_FAILURES = 2
ICE_FAILURE_WINDOW_S = 60.0
SHORT_CONNECTION_S = 90.0
"""Another kind of path is preferred after so many failures in a row, or after one of a connection
that had not lasted longer (``pkg/rtc/transportmanager.go``, ``pkg/rtc/transport.go``)."""
ICE_PREFERENCE_TTL_S = 300.0
ICE_PREFERENCES = 1024
"""For which a room remembers the preferred kind of path, and of how many identities."""
DEPARTURES = 128
"""Participants that left whom a resuming client may have to be told of
(``pkg/rtc/participant.go`` updateCache)."""
DEPARTURES_BEFORE_S = 3.0
"""Also those that left so long before the client was last heard: what it was told then may not have
arrived (``pkg/rtc/participant_signal.go``)."""
NEGOTIATION_FAST_S = 0.010
NEGOTIATION_DEBOUNCE_S = 0.150
NEGOTIATION_FAILED_S = 15.0
JOIN_ANSWER_S = 0.2
"""How long an answer waits for a client that may not have set the offer it joined with."""
RECONCILE_INTERVAL_S = 3.0
SUBSCRIPTION_NOT_FOUND_S = 60.0
SUBSCRIPTION_FAILED_S = 15.0
PUBLICATION_FAILED_S = 30.0
"""A track that was announced should have come by then (``pkg/rtc/supervisor``)."""
UNSUBSCRIBE_SETTLE_S = 0.2
"""A subscription that ends is gone from the client's description after this (the blank frames of
``pkg/sfu/downtrack.go``)."""
UNSUBSCRIBE_WAIT_S = 1.0
"""A subscription waits for others that end no longer than this."""
DYNACAST_RESEND_S = 2.0
DYNACAST_RESEND_MAX_S = 8.0
"""After an answer a publisher is told once more which layers nobody needs: to apply it may have
begun them again. Several answers in a row count as one, for at most so long
(``pkg/rtc/participant.go``)."""
DYNACAST_INITIAL_S = 10.0
"""A codec that nobody has subscribed to by then is told to be needed by nobody
(``pkg/rtc/dynacast``)."""
TRACK_SETTINGS_DEBOUNCE_S = 0.1
"""``pkg/rtc/subscribedtrack.go``."""
SUBSCRIBER_UPDATE_INTERVAL_S = 3.0
"""Batching of updates about participants who only watch."""
ROOM_UPDATE_INTERVAL_S = 5.0
CONNECTION_QUALITY_INTERVAL_S = 5.0
"""Window of connection quality scores (livekit-server ``sfu/connectionquality``)."""
BACKGROUND_RETRY_MIN_S = 0.5
BACKGROUND_RETRY_MAX_S = 30.0
"""Before a program of the server that failed begins again; doubles while it keeps failing."""
NODE_STATS_INTERVAL_S = 2.0
NODE_STATS_MAX_AGE_S = 4.0
"""The health route answers 406 when the stats are older (``pkg/service/server.go``)."""
DRAIN_POLL_S = 0.5
DRAIN_ROOM_PAUSE_S = 0.05
"""Between two rooms whose clients are sent elsewhere at the end of a drain."""
RPC_ACK_S = 7.0
RPC_RESPONSE_S = 15.0
"""Wait for a participant to acknowledge and to answer an RPC of the server, unless the caller says
otherwise (protocol ``utils/data_channel_rpc.go``)."""
TOKEN_MAX_SIZE = 64_000
"""Bytes of a JWT, which is decoded before anybody knows who made it; Go bounds it by its header
limit (``http.DefaultMaxHeaderBytes``)."""
TOKEN_REFRESH_S = 300.0
TOKEN_REFRESH_TTL_S = 600.0
TOKEN_LEEWAY_S = 60.0
TOKEN_DEFAULT_TTL_S = 6 * 3600.0
SIGNAL_FIRST_RESPONSE_S = 5.0
"""Wait for a room's first response. LiveKit tries three times, for 3, 4 and 5 s
(``pkg/service/utils.go``); the same room would not answer sooner the second time."""
WHIP_TRACKS_S = 3.0
WHIP_TRACKS_POLL_S = 0.05
"""Wait for the tracks that a WHIP client asks for by name (psrpc's timeout,
``pkg/service/roommanager_service.go``)."""
STREAM_FLUSH_S = 0.250
"""Responses queued just before a signal connection ends are still sent within this time."""
WEBHOOK_MAX_AGE_S = 30.0
"""A webhook that waited longer is dropped (protocol ``webhook/resource_url_notifier.go``)."""
WEBHOOK_RETRY_MIN_S = 1.0
WEBHOOK_RETRY_MAX_S = 30.0
"""Between two attempts (hashicorp/go-retryablehttp)."""
WEBHOOK_TIMEOUT_S = 30.0
"""For a receiver to answer; LiveKit waits without end, with all later events of the room."""
WEBHOOK_TOKEN_TTL_S = 300.0
WEBHOOK_FLUSH_S = 3.0
"""For the last webhooks when the server stops."""

# -- lkpy's own ---------------------------------------------------------------------------------
ADMISSION_TAKEN_PER_TURN = 6
"""Requests to join that are looked at in one turn of the event loop."""
ADMISSION_AHEAD = 16
"""Joins that wait for their turn when no further request is looked at."""
ADMISSION_LINE_BYTES = 24 * 1024 * 1024
"""That requests hold which nobody has looked at; one is some kilobytes."""
ADMISSION_STARTING = 16
"""Sessions that start at a time on a node; one is milliseconds of work."""
ADMISSION_WAITING = 4096
ADMISSION_WAIT_S = 2.5
"""Joins wait for their turn as long as they have it within this; clients wait 5 s and more."""
ADMISSION_PATIENCE_S = 4.0
"""For which a join waits when its turn comes later than was expected."""
ADMISSION_BROWSER_WAIT_S = 8.0
ADMISSION_BROWSER_PATIENCE_S = 12.0
"""The same for browsers. livekit-client waits 15 s, cannot read ``Retry-After``, and leaves a first
join that is refused to its application."""
ADMISSION_PACE_S = 0.005
"""What a join is taken to cost before the first was measured."""
ADMISSION_RETRY_MAX_S = 30.0
"""At most told in ``Retry-After``."""
SLICE_S = 0.005
SLICE_STEPS = 16
"""After this long, and after so many, work over many participants lets the rest of the process have
its turn."""
SLICE_WAITS = 512
"""Turns of the loop in which readers catch up before work over many goes on."""
WAKES_PER_TURN = 32
"""Readers of signal channels that are woken in one turn of the loop; each sends to a socket."""
GARBAGE_YOUNG = 1_000
"""Objects more than before after which Python looks for garbage among them. Many small searches
cost as much as few large ones, and nobody notices them."""
GARBAGE_LEFT_PER_PRESENT = 25
"""Participants and rooms that have ended for each participant who is there, before everything is
searched: a search costs by who is there, and finds by who left."""
GARBAGE_LOOK_S = 5.0
ENGINE_COMMANDS_TOGETHER = 64
"""Commands for the engine that wait for each other, as many as a worker takes in a turn."""
ENGINE_RELEASE_RETRY_S = 0.25
"""Until the engine is asked again to give back what it refused to."""
PARTICIPANT_FORGET_S = 5.0
"""For what is on its way to somebody who left."""
ROOM_CLOSE_S = 10.0
"""After which a room that closes does not let others go first any more."""
MEDIA_SAMPLE_INTERVAL_S = 5.0
"""Between two looks at media for its metrics, as LiveKit's connection statistics."""
PROFILE_DEFAULT_S = 30.0
PROFILE_MAX_S = 300.0
"""Length of a profile (``/debug/pprof/profile``)."""
STATS_INTERVAL_MIN_MS = 200
STATS_INTERVAL_DEFAULT_MS = 1000
STATS_INTERVAL_MAX_MS = 10_000
"""Between two messages of a statistics stream."""
