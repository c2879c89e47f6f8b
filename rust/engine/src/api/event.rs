//! What the control plane is told.

use super::{Code, DtlsState, IceState, Id, StatsCollected};

/// One event; see `lkpy/engine/api.py` for what each promises.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The ICE state or the selected pair changed.
    IceStateChanged {
        /// The transport.
        transport: Id,
        /// The state now.
        state: IceState,
        /// `address:port` of the selected pair, or empty.
        local: String,
        /// The same of the remote side.
        remote: String,
        /// `udp`, `tcp` or empty.
        protocol: &'static str,
    },
    /// The DTLS state changed.
    DtlsStateChanged {
        /// The transport.
        transport: Id,
        /// The state now.
        state: DtlsState,
        /// IANA name of the SRTP profile once connected, or empty.
        srtp_profile: &'static str,
        /// Why it failed, or empty.
        reason: String,
    },
    /// The engine gave the transport up by itself.
    TransportClosed {
        /// The transport.
        transport: Id,
        /// Why.
        reason: String,
    },
    /// A data channel is usable.
    DataChannelOpened {
        /// The transport.
        transport: Id,
        /// SCTP stream.
        stream_id: u16,
        /// Its label.
        label: String,
        /// Its subprotocol.
        protocol: String,
        /// Delivered in order.
        ordered: bool,
        /// None: reliable.
        max_retransmits: Option<u16>,
    },
    /// A data channel is gone.
    DataChannelClosed {
        /// The transport.
        transport: Id,
        /// SCTP stream.
        stream_id: u16,
    },
    /// One whole message.
    DataReceived {
        /// The transport.
        transport: Id,
        /// SCTP stream.
        stream_id: u16,
        /// The message.
        payload: Vec<u8>,
        /// Binary, not text.
        binary: bool,
    },
    /// A reliable channel was full and dropped a message.
    DataChannelOverflow {
        /// The transport.
        transport: Id,
        /// SCTP stream.
        stream_id: u16,
        /// Bytes waiting in the channel.
        buffered: usize,
    },
    /// Packets from or for a transport begin to be dropped for this reason, which they are not in a
    /// normal call. The statistics count them.
    PacketsDropped {
        /// The transport.
        transport: Id,
        /// As in the statistics.
        reason: &'static str,
    },
    /// The set of spatial layers that receive packets changed.
    ReceiverLayersChanged {
        /// The receiver.
        receiver: Id,
        /// Lowest first.
        layers: Vec<u8>,
        /// Codec of the first packet.
        mime_type: String,
    },
    /// A receiver should receive and does not, or not any more.
    ReceiverStalled {
        /// The receiver.
        receiver: Id,
        /// Nothing comes.
        stalled: bool,
        /// `no_packets`, or `dropped_` and the reason for which packets of its transport are dropped
        /// meanwhile; empty when it is over.
        cause: String,
        /// How long nothing has come, or came, in ms.
        elapsed_ms: u64,
    },
    /// A down track should send and does not, or not any more.
    DownTrackStalled {
        /// The subscriber's transport.
        transport: Id,
        /// The down track.
        down_track: Id,
        /// Nothing is sent.
        stalled: bool,
        /// `no_layer`, `waiting_for_key_frame` or `not_forwarded`; empty when it is over.
        cause: &'static str,
        /// How long nothing has been sent, or was, in ms.
        elapsed_ms: u64,
    },
    /// Down tracks of video were paused because there is no room for them, or are sent (again).
    StreamStatesChanged {
        /// The transport.
        transport: Id,
        /// Down tracks, and whether each is paused, in order.
        states: Vec<(Id, bool)>,
    },
    /// One observation window of audio levels.
    AudioLevels {
        /// The worker.
        worker: usize,
        /// Receiver, loudest level in -dBov, milliseconds at or above the active level.
        levels: Vec<(Id, u8, u32)>,
    },
    /// A worker panicked outside everything that is about one transport, or cannot go on. All its
    /// transports are gone, without an event of their own.
    WorkerFailed {
        /// The worker.
        worker: usize,
        /// What happened.
        reason: String,
        /// It goes on with nothing on it, on the same ports. If not, it takes no command any more.
        replaced: bool,
    },
    /// A turn of a worker takes too long, or has ended after all. Nothing is lost yet.
    WorkerStalled {
        /// The worker.
        worker: usize,
        /// It is in that turn.
        stalled: bool,
        /// How long the turn takes, or took, in ms.
        elapsed_ms: u64,
    },
    /// A command could not be carried out.
    CommandFailed {
        /// Its name.
        command: &'static str,
        /// The id that it was about.
        subject: Id,
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        message: String,
    },
    /// One worker's answer to a request for statistics.
    StatsCollected(Box<StatsCollected>),
}

/// What it means to leave an event out when the control plane does not take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing: the next of its kind replaces it.
    Droppable,
    /// A message is lost.
    Data,
    /// The control plane takes things for what they are not. There are as many as things change.
    Critical,
    /// It would not learn that there is nothing left.
    Failure,
}

impl Event {
    /// What it would mean to leave the event out.
    pub const fn weight(&self) -> Weight {
        match self {
            Self::AudioLevels { .. } | Self::StatsCollected(_) => Weight::Droppable,
            Self::DataReceived { .. } | Self::DataChannelOverflow { .. } => Weight::Data,
            Self::WorkerFailed { .. } => Weight::Failure,
            _ => Weight::Critical,
        }
    }

    /// Bytes of payload that the event holds.
    pub fn payload_len(&self) -> usize {
        match self {
            Self::DataReceived { payload, .. } => payload.len(),
            _ => 0,
        }
    }
}
