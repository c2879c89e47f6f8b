//! What the control plane asks for.

use std::sync::Arc;

use super::Id;
use sfu::{MediaKind, PlayoutDelayLimits};

/// ICE credentials of one side (RFC 8445 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceParameters {
    /// Username fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
}

/// One ICE candidate (RFC 8839 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Candidates of the same foundation share type, base address and protocol.
    pub foundation: String,
    /// 1: everything is multiplexed (RFC 5761).
    pub component: u16,
    /// `udp` or `tcp`.
    pub protocol: String,
    /// RFC 8445 5.1.2.
    pub priority: u32,
    /// IP address, or an mDNS name.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `host`, `srflx`, `prflx` or `relay`.
    pub kind: String,
    /// `active`, `passive` or `so` for TCP (RFC 6544 4.5).
    pub tcp_type: Option<String>,
}

/// The role of the engine in the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// Begins the handshake (`a=setup:active`).
    Client,
    /// Waits for it (`a=setup:passive`).
    Server,
}

/// The remote certificate's fingerprint (RFC 8122) and the role that the engine takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsParameters {
    /// Hash function, e.g. `sha-256`.
    pub algorithm: String,
    /// Hex bytes joined by colons.
    pub fingerprint: String,
    /// The engine's role.
    pub role: DtlsRole,
}

/// One negotiated codec of a media section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RtpCodec {
    /// RTP payload type.
    pub payload_type: u8,
    /// Lower-case, e.g. `video/vp8`.
    pub mime_type: String,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Audio channels, 0 for video.
    pub channels: u8,
    /// Payload type of its retransmissions (RFC 4588).
    pub rtx_payload_type: Option<u8>,
    /// Format parameters as in SDP.
    pub fmtp: String,
    /// Generic NACK was negotiated.
    pub nack: bool,
    /// PLI was negotiated.
    pub pli: bool,
    /// Transport-wide congestion control feedback was negotiated.
    pub transport_cc: bool,
    /// REMB was negotiated.
    pub remb: bool,
}

/// One negotiated RTP header extension (RFC 8285).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderExtension {
    /// 1 to 255.
    pub id: u8,
    /// What it means.
    pub uri: String,
}

/// One incoming encoding, named by rid (RFC 8852) or by ssrc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Its layer, 0 lowest.
    pub spatial: u8,
    /// Its RTP stream id.
    pub rid: Option<String>,
    /// Its ssrc, if signalled.
    pub ssrc: Option<u32>,
    /// The ssrc of its retransmissions, if signalled.
    pub rtx_ssrc: Option<u32>,
}

/// Expect a published track on a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateReceiver {
    /// Its id.
    pub receiver: Id,
    /// The publisher's transport.
    pub transport: Id,
    /// Media section.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The publisher's codecs.
    pub codecs: Vec<RtpCodec>,
    /// The publisher's header extensions.
    pub header_extensions: Vec<HeaderExtension>,
    /// The expected encodings.
    pub encodings: Vec<Encoding>,
    /// The same for all tracks of one publisher: their sender reports share one clock.
    pub clock_group: Id,
    /// A screen share sends few frames.
    pub screen_share: bool,
}

/// Forward a receiver to a media section of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateDownTrack {
    /// Its id.
    pub down_track: Id,
    /// The subscriber's transport.
    pub transport: Id,
    /// Where its packets come from.
    pub receiver: Id,
    /// Media section.
    pub mid: String,
    /// Ssrc of the outgoing media.
    pub ssrc: u32,
    /// Ssrc of its retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// Canonical name for SDES.
    pub cname: String,
    /// The subscriber's codecs.
    pub codecs: Vec<RtpCodec>,
    /// The subscriber's header extensions.
    pub header_extensions: Vec<HeaderExtension>,
    /// Highest spatial layer to send; negative: nothing.
    pub max_spatial: i8,
    /// Highest temporal layer to send; negative: nothing.
    pub max_temporal: i8,
    /// Begin muted.
    pub muted: bool,
    /// RED goes out as Opus to a subscriber without it, and Opus as RED if RED is the first codec.
    pub translate_red: bool,
    /// Limits of the playout delay of video; none: the subscriber is not told any.
    pub playout_delay: Option<PlayoutDelayLimits>,
    /// Frames end without LiveKit's packet trailer.
    pub strip_trailer: bool,
}

/// Send one message on many data channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendData {
    /// Pairs of transport and stream id.
    pub channels: Vec<(Id, u16)>,
    /// The message.
    pub payload: Arc<[u8]>,
    /// Binary, not text.
    pub binary: bool,
    /// The transport that it came on, 0 for none: its reliable messages wait there for readers
    /// who are slow but not too slow.
    pub source: Id,
}

/// One command; see `lkpy/engine/api.py` for what each promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Create one peer connection.
    CreateTransport {
        /// Its id.
        transport: Id,
        /// The worker that owns it and everything on it.
        worker: usize,
        /// The engine's ICE credentials.
        ice: IceParameters,
        /// Answer checks only.
        ice_lite: bool,
        /// The ICE role.
        controlling: bool,
    },
    /// Give the transport the remote side's ICE and DTLS parameters.
    SetRemoteParameters {
        /// The transport.
        transport: Id,
        /// The remote side's ICE credentials.
        ice: IceParameters,
        /// The remote side's certificate and our role.
        dtls: DtlsParameters,
        /// The remote side only answers checks.
        remote_lite: bool,
    },
    /// Send no data message that is larger than the remote side takes.
    SetMaxMessageSize {
        /// The transport.
        transport: Id,
        /// Bytes of the largest message. 0: no data at all, and no association is begun.
        bytes: usize,
    },
    /// Change the local ICE credentials.
    RestartIce {
        /// The transport.
        transport: Id,
        /// The engine's credentials from now on.
        ice: IceParameters,
    },
    /// Trickle one remote candidate.
    AddRemoteCandidate {
        /// The transport.
        transport: Id,
        /// The candidate.
        candidate: Candidate,
    },
    /// Close a transport with all that is on it.
    CloseTransport {
        /// The transport.
        transport: Id,
    },
    /// Expect a published track.
    CreateReceiver(Box<CreateReceiver>),
    /// Pause or resume a receiver.
    UpdateReceiver {
        /// The receiver.
        receiver: Id,
        /// Forward nothing.
        muted: bool,
    },
    /// Take what the publisher has negotiated anew for a receiver.
    RenegotiateReceiver {
        /// The receiver.
        receiver: Id,
        /// The publisher's codecs.
        codecs: Vec<RtpCodec>,
        /// The publisher's header extensions.
        header_extensions: Vec<HeaderExtension>,
        /// The expected encodings.
        encodings: Vec<Encoding>,
    },
    /// Forget a published track.
    CloseReceiver {
        /// The receiver.
        receiver: Id,
    },
    /// Ask the publisher for a key frame.
    RequestKeyFrame {
        /// The receiver.
        receiver: Id,
    },
    /// Forward a receiver to a media section.
    CreateDownTrack(Box<CreateDownTrack>),
    /// Change what a down track may send.
    UpdateDownTrack {
        /// The down track.
        down_track: Id,
        /// Highest spatial layer; negative: nothing.
        max_spatial: i8,
        /// Highest temporal layer; negative: nothing.
        max_temporal: i8,
        /// Send nothing.
        muted: bool,
    },
    /// Take what the subscriber has negotiated anew for a down track.
    RenegotiateDownTrack {
        /// The down track.
        down_track: Id,
        /// The subscriber's codecs.
        codecs: Vec<RtpCodec>,
        /// The subscriber's header extensions.
        header_extensions: Vec<HeaderExtension>,
    },
    /// Stop forwarding.
    CloseDownTrack {
        /// The down track.
        down_track: Id,
    },
    /// Change how what a transport carries is divided among its down tracks of video.
    SetCongestionControl {
        /// The transport.
        transport: Id,
        /// Send nothing of a track for which there is no room, and not its lowest layer.
        allow_pause: bool,
        /// As if the connection carried so many bits per second; None: what it carries.
        capacity_bps: Option<u64>,
    },
    /// Open a data channel once SCTP is up.
    OpenDataChannel {
        /// The transport.
        transport: Id,
        /// Its label.
        label: String,
        /// Deliver in order.
        ordered: bool,
        /// Retransmissions per message, None: reliable.
        max_retransmits: Option<u16>,
        /// The stream that both sides have agreed on, or None: the engine tells the peer which.
        negotiated: Option<u16>,
    },
    /// Take packets of a data track from a publisher.
    CreateDataTrack {
        /// Its id.
        data_track: Id,
        /// The publisher's transport.
        transport: Id,
        /// The publisher's handle.
        handle: u16,
    },
    /// Forget a data track.
    CloseDataTrack {
        /// The data track.
        data_track: Id,
    },
    /// Forward a data track to a subscriber.
    CreateDataDownTrack {
        /// Its id.
        data_down_track: Id,
        /// The subscriber's transport.
        transport: Id,
        /// Where its packets come from.
        data_track: Id,
        /// The subscriber's handle.
        handle: u16,
    },
    /// Stop forwarding a data track.
    CloseDataDownTrack {
        /// The data down track.
        data_down_track: Id,
    },
    /// Send one message on many channels.
    SendData(SendData),
    /// Ask for statistics.
    CollectStats {
        /// Comes back with the answer.
        request: u64,
    },
}

impl Command {
    /// The command's name on the boundary.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CreateTransport { .. } => "CreateTransport",
            Self::SetRemoteParameters { .. } => "SetRemoteParameters",
            Self::SetMaxMessageSize { .. } => "SetMaxMessageSize",
            Self::RestartIce { .. } => "RestartIce",
            Self::AddRemoteCandidate { .. } => "AddRemoteCandidate",
            Self::CloseTransport { .. } => "CloseTransport",
            Self::CreateReceiver(_) => "CreateReceiver",
            Self::UpdateReceiver { .. } => "UpdateReceiver",
            Self::RenegotiateReceiver { .. } => "RenegotiateReceiver",
            Self::CloseReceiver { .. } => "CloseReceiver",
            Self::RequestKeyFrame { .. } => "RequestKeyFrame",
            Self::CreateDownTrack(_) => "CreateDownTrack",
            Self::UpdateDownTrack { .. } => "UpdateDownTrack",
            Self::RenegotiateDownTrack { .. } => "RenegotiateDownTrack",
            Self::CloseDownTrack { .. } => "CloseDownTrack",
            Self::SetCongestionControl { .. } => "SetCongestionControl",
            Self::OpenDataChannel { .. } => "OpenDataChannel",
            Self::CreateDataTrack { .. } => "CreateDataTrack",
            Self::CloseDataTrack { .. } => "CloseDataTrack",
            Self::CreateDataDownTrack { .. } => "CreateDataDownTrack",
            Self::CloseDataDownTrack { .. } => "CloseDataDownTrack",
            Self::SendData(_) => "SendData",
            Self::CollectStats { .. } => "CollectStats",
        }
    }

    /// The transport that the command is about, as far as the command itself says.
    pub fn transport(&self) -> Option<Id> {
        match self {
            Self::CreateTransport { transport, .. }
            | Self::SetRemoteParameters { transport, .. }
            | Self::SetMaxMessageSize { transport, .. }
            | Self::RestartIce { transport, .. }
            | Self::AddRemoteCandidate { transport, .. }
            | Self::CloseTransport { transport }
            | Self::SetCongestionControl { transport, .. }
            | Self::OpenDataChannel { transport, .. }
            | Self::CreateDataTrack { transport, .. }
            | Self::CreateDataDownTrack { transport, .. } => Some(*transport),
            Self::CreateReceiver(create) => Some(create.transport),
            Self::CreateDownTrack(create) => Some(create.transport),
            _ => None,
        }
    }

    /// The id that the command is about; 0 for one about many or none.
    pub fn subject(&self) -> Id {
        match self {
            Self::CreateTransport { transport, .. }
            | Self::SetRemoteParameters { transport, .. }
            | Self::SetMaxMessageSize { transport, .. }
            | Self::RestartIce { transport, .. }
            | Self::AddRemoteCandidate { transport, .. }
            | Self::CloseTransport { transport }
            | Self::SetCongestionControl { transport, .. }
            | Self::OpenDataChannel { transport, .. } => *transport,
            Self::CreateReceiver(create) => create.receiver,
            Self::UpdateReceiver { receiver, .. }
            | Self::RenegotiateReceiver { receiver, .. }
            | Self::CloseReceiver { receiver }
            | Self::RequestKeyFrame { receiver } => *receiver,
            Self::CreateDownTrack(create) => create.down_track,
            Self::UpdateDownTrack { down_track, .. }
            | Self::RenegotiateDownTrack { down_track, .. }
            | Self::CloseDownTrack { down_track } => *down_track,
            Self::CreateDataTrack { data_track, .. } | Self::CloseDataTrack { data_track } => {
                *data_track
            }
            Self::CreateDataDownTrack {
                data_down_track, ..
            }
            | Self::CloseDataDownTrack { data_down_track } => *data_down_track,
            Self::SendData(_) | Self::CollectStats { .. } => 0,
        }
    }
}
