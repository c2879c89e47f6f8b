//! The state of one transport.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtp::extension::{ExtensionKind, ExtensionMap};
use rtp::rtcp::{RtcpWriter, packet_type};
use rtp::srtp::{MAX_RTCP_OVERHEAD, SrtpContext};
use rtp::twcc::TwccRecorder;
use rustc_hash::FxHashMap;
use sfu::{Backlog, StreamAllocator};
use transport::{CandidatePair, IceState, Transport};

use super::data_tracks::DataTrackChannel;
use super::drops::Counts;
use super::table::Index;
use super::timers::Armed;
use crate::api::{HeaderExtension, Id, RtpCodec};
use crate::egress::{Egress, SealingSink, Sent};

/// Ssrc of our own RTCP where no stream of ours is meant; libwebrtc uses it in the same way.
pub(super) const RTCP_SSRC: u32 = 1;

/// Addresses remembered per transport: its paths, and where answers to its checks may come from.
pub(super) const MAX_TUPLES: usize = 128;

/// Ssrcs of one transport that are mapped to receivers.
const MAX_SSRCS: usize = 2048;

/// Least time between two requests for the pictures of all tracks of a transport.
const UNADDRESSED_PLI_INTERVAL: Duration = Duration::from_millis(500);

/// Packets held for a receiver that is still to be created: a key frame and what follows it.
const MAX_HELD: usize = 128;

/// How long they are held.
const HELD_FOR: Duration = Duration::from_secs(2);

/// What a data channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelKind {
    /// Messages; one that does not fit is reported.
    Reliable,
    /// Messages that may be dropped in silence.
    Lossy,
    /// Packets of data tracks.
    DataTrack,
}

/// An open data channel.
pub(super) struct DataChannel {
    pub(super) kind: ChannelKind,
    /// Of messages; data tracks have one of their own.
    pub(super) backlog: Backlog,
}

pub(super) struct Connection {
    pub(super) id: Id,
    pub(super) transport: Transport,
    /// When it was created: absolute send times count from it.
    pub(super) epoch: Instant,
    /// The transport has keys and a pair to send on.
    pub(super) can_send: bool,
    /// Bytes of the largest message that the peer takes.
    pub(super) max_message: usize,
    /// As it was last reported.
    pub(super) ice_state: IceState,
    /// How often the guard before SCTP had refused something when it was last asked.
    pub(super) sctp_refused: u64,
    /// Where the transport is in `Core::tuples`, oldest first.
    pub(super) tuples: Vec<CandidatePair>,
    /// Where it is in `Core::ufrags`.
    pub(super) ufrags: Vec<String>,
    /// The union of its media sections' header extensions: with BUNDLE an id means the same in all
    /// (RFC 8843 9.2).
    pub(super) extensions: ExtensionMap,
    pub(super) twcc: Option<TwccRecorder>,
    pub(super) receivers: Vec<Index>,
    pub(super) down_tracks: Vec<Index>,
    /// Receivers by the ssrcs that arrive.
    pub(super) ssrcs_in: FxHashMap<u32, Index>,
    /// When a request that names no stream may be taken again.
    next_unaddressed_pli: Option<Instant>,
    /// Down tracks by the ssrcs that are sent, retransmissions included.
    pub(super) ssrcs_out: FxHashMap<u32, Index>,
    /// Divides what the connection carries among its down tracks of video.
    pub(super) allocator: StreamAllocator,
    pub(super) held: Held,
    /// What of its own, and for it, was dropped.
    pub(super) drops: Counts,
    /// Open data channels.
    pub(super) channels: FxHashMap<u16, DataChannel>,
    /// The one of them on which data tracks are sent.
    pub(super) data_track_channel: Option<DataTrackChannel>,
    /// Published data tracks by the publisher's handle.
    pub(super) data_tracks: FxHashMap<u16, Index>,
    pub(super) data_down_tracks: Vec<Index>,
    pub(super) packets_received: u64,
    pub(super) bytes_received: u64,
    pub(super) srtp_errors: u64,
    pub(super) sent: Sent,
    /// Of down tracks that were closed.
    pub(super) retransmissions: u64,
    pub(super) rtt: Option<Duration>,
    pub(super) timer: Armed,
    pub(super) reports_timer: Armed,
    pub(super) allocation_timer: Armed,
    pub(super) next_sender_reports: Option<Instant>,
    pub(super) next_twcc: Option<Instant>,
}

impl Connection {
    /// Header extensions that the peer uses from now on, beside those before.
    pub(super) fn add_extensions(&mut self, extensions: &[HeaderExtension]) {
        for extension in extensions {
            if let Some(kind) = ExtensionKind::from_uri(&extension.uri) {
                self.extensions.insert(extension.id, kind);
            }
        }
    }

    /// Begins to give feedback for congestion control, if a codec has it.
    pub(super) fn expect_feedback(&mut self, now: Instant, codecs: &[RtpCodec]) {
        if codecs.iter().any(|codec| codec.transport_cc) && self.twcc.is_none() {
            self.twcc = Some(TwccRecorder::new(now));
        }
    }

    /// A connection whose down tracks `allocator` brings within what it carries.
    pub(super) fn new(
        now: Instant,
        id: Id,
        transport: Transport,
        allocator: StreamAllocator,
    ) -> Self {
        Self {
            id,
            transport,
            epoch: now,
            can_send: false,
            max_message: usize::MAX,
            ice_state: IceState::New,
            sctp_refused: 0,
            tuples: Vec::new(),
            ufrags: Vec::new(),
            extensions: ExtensionMap::new(),
            twcc: None,
            receivers: Vec::new(),
            down_tracks: Vec::new(),
            ssrcs_in: FxHashMap::default(),
            next_unaddressed_pli: None,
            ssrcs_out: FxHashMap::default(),
            allocator,
            held: Held::default(),
            drops: Counts::default(),
            channels: FxHashMap::default(),
            data_track_channel: None,
            data_tracks: FxHashMap::default(),
            data_down_tracks: Vec::new(),
            packets_received: 0,
            bytes_received: 0,
            srtp_errors: 0,
            sent: Sent::default(),
            retransmissions: 0,
            rtt: None,
            timer: Armed::default(),
            reports_timer: Armed::default(),
            allocation_timer: Armed::default(),
            next_sender_reports: None,
            next_twcc: None,
        }
    }

    /// Whether the guard before SCTP has refused anything since the last call.
    pub(super) fn take_sctp_refusals(&mut self) -> bool {
        let refused = self.transport.sctp_refused().total();
        std::mem::replace(&mut self.sctp_refused, refused) != refused
    }

    /// Counts a datagram of the peer.
    #[inline]
    /// Whether a request for pictures that names no stream is taken: it is work for all of them.
    pub(super) fn allows_unaddressed_pli(&mut self, now: Instant) -> bool {
        let allowed = self.next_unaddressed_pli.is_none_or(|at| at <= now);
        if allowed {
            self.next_unaddressed_pli = Some(now + UNADDRESSED_PLI_INTERVAL);
        }
        allowed
    }

    /// Packets of these ssrcs are for the receiver at `place`.
    pub(super) fn learn_ssrcs(&mut self, place: Index, ssrcs: impl IntoIterator<Item = u32>) {
        for ssrc in ssrcs {
            if self.ssrcs_in.len() < MAX_SSRCS || self.ssrcs_in.contains_key(&ssrc) {
                self.ssrcs_in.insert(ssrc, place);
            }
        }
    }

    pub(super) fn count_received(&mut self, len: usize) {
        self.packets_received += 1;
        self.bytes_received += len as u64;
    }

    /// Notes that packets on `pair` are the transport's. Returns one that is forgotten for it: the
    /// oldest on which nothing is received.
    pub(super) fn add_tuple(&mut self, now: Instant, pair: CandidatePair) -> Option<CandidatePair> {
        self.tuples.push(pair);
        if self.tuples.len() <= MAX_TUPLES {
            return None;
        }
        let (transport, last) = (&self.transport, self.tuples.len() - 1);
        let is_unused = |&tuple: &CandidatePair| transport.check_source(now, tuple).is_err();
        let unused = self.tuples[..last].iter().position(is_unused);
        // A transport has fewer paths than there is room for.
        Some(self.tuples.remove(unused.unwrap_or(0)))
    }

    /// Where and with which keys to send media; `None` while that is not possible.
    #[inline]
    pub(super) fn sink<'a>(&'a mut self, egress: &'a mut Egress) -> Option<SealingSink<'a>> {
        let pair = self.transport.send_to()?;
        Some(SealingSink {
            egress,
            srtp: self.transport.srtp_tx()?,
            pair,
            sent: &mut self.sent,
        })
    }

    /// Seals and sends a compound RTCP packet and leaves the buffer empty. One that does not begin
    /// with a report gets an empty one (RFC 3550 6.1): nobody told us that the peer takes
    /// reduced-size RTCP.
    pub(super) fn send_rtcp(&mut self, egress: &mut Egress, compound: &mut Vec<u8>) {
        if let (Some(pair), Some(srtp)) = (self.transport.send_to(), srtp_tx(&mut self.transport))
            && let Some(&first) = compound.get(1)
        {
            if !matches!(
                first,
                packet_type::SENDER_REPORT | packet_type::RECEIVER_REPORT
            ) {
                let body = compound.len();
                RtcpWriter::new(compound).receiver_report(RTCP_SSRC, &[]);
                compound.rotate_left(body);
            }
            let plain = compound.len();
            compound.resize(plain + MAX_RTCP_OVERHEAD, 0);
            // It fails only when the key is used up: 2^31 packets.
            if let Ok(sealed) = srtp.protect_rtcp(compound, plain) {
                egress.push(pair, &compound[..sealed]);
                self.sent.packets += 1;
                self.sent.bytes += sealed as u64;
            }
        }
        compound.clear();
    }

    /// Asks for sender reports at `at` at the latest.
    pub(super) fn want_sender_reports(&mut self, at: Instant) {
        self.next_sender_reports = Some(self.next_sender_reports.map_or(at, |next| next.min(at)));
    }

    /// When the reports of [`Self::reports_timer`] are due.
    pub(super) fn reports_deadline(&self) -> Option<Instant> {
        [self.next_sender_reports, self.next_twcc]
            .into_iter()
            .flatten()
            .min()
    }
}

fn srtp_tx(transport: &mut Transport) -> Option<&mut SrtpContext> {
    transport.srtp_tx()
}

/// Decrypted packets of media sections whose receivers do not exist yet: signalling may be slower
/// than media, and the first key frame would be lost.
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<(Instant, Box<[u8]>)>);

impl Held {
    /// Holds a packet; returns how many are given up, because they are old or there is no room.
    pub(super) fn push(&mut self, now: Instant, packet: &[u8]) -> usize {
        let old = self.expire(now);
        if self.0.len() >= MAX_HELD {
            return old + 1;
        }
        self.0.push_back((now, packet.into()));
        old
    }

    /// Gives up what is old; returns how many packets.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let is_old = |held: &(Instant, _)| now.saturating_duration_since(held.0) > HELD_FOR;
        let mut old = 0;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
            old += 1;
        }
        old
    }

    /// Takes out what is held, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<(Instant, Box<[u8]>)> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packets_are_held_for_a_while() {
        let (mut held, now) = (Held::default(), Instant::now());
        let lost: usize = (0..200u8).map(|n| held.push(now, &[n])).sum();
        assert_eq!(lost, 200 - MAX_HELD);
        let later = now + HELD_FOR + Duration::from_millis(1);
        assert_eq!(held.push(later, &[201]), MAX_HELD);
        let packets = held.take();
        assert_eq!(packets.len(), 1);
        assert_eq!(&*packets[0].1, &[201]);
        assert!(held.take().is_empty());
    }
}
