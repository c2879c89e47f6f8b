//! One end of an association whose peer is made by hand: what tests and fuzzers send reaches the guard
//! and the association as it is, with a right checksum.

use std::time::Instant;

use bytes::Bytes;

use super::guard::wire;
use super::{Phase, Sctp};
use crate::types::{ChannelOptions, DataError, SctpRefused, TransportEvent};

/// Flag of a DATA chunk: the last fragment of its message.
pub const ENDS: u8 = 1;
/// Flag of a DATA chunk: the first fragment of its message.
pub const BEGINS: u8 = 2;
/// Flag of a DATA chunk: unordered.
pub const UNORDERED: u8 = 4;

/// A DATA chunk of binary user data, padded.
pub fn data(flags: u8, tsn: u32, stream: u16, ssn: u16, payload: &[u8]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend(ssn.to_be_bytes());
    value.extend(53_u32.to_be_bytes());
    value.extend(payload);
    chunk(0, flags, &value)
}

/// Any chunk, padded.
pub fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((4 + value.len() as u16).to_be_bytes());
    chunk.extend(value);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// A FORWARD-TSN chunk.
pub fn forward_tsn(tsn: u32, streams: &[(u16, u16)]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    for (stream, ssn) in streams {
        value.extend(stream.to_be_bytes());
        value.extend(ssn.to_be_bytes());
    }
    chunk(192, 0, &value)
}

/// A SACK chunk.
pub fn sack(cumulative: u32, window: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
    let mut value = cumulative.to_be_bytes().to_vec();
    value.extend(window.to_be_bytes());
    value.extend((gaps.len() as u16).to_be_bytes());
    value.extend([0; 2]);
    for (start, end) in gaps {
        value.extend(start.to_be_bytes());
        value.extend(end.to_be_bytes());
    }
    chunk(3, 0, &value)
}

/// A RE-CONFIG chunk with a request to reset outgoing streams.
pub fn reset(sequence: u32, last_tsn: u32, streams: &[u16]) -> Vec<u8> {
    let mut value = 13_u16.to_be_bytes().to_vec();
    value.extend((16 + 2 * streams.len() as u16).to_be_bytes());
    value.extend(sequence.to_be_bytes());
    value.extend(0_u32.to_be_bytes());
    value.extend(last_tsn.to_be_bytes());
    streams.iter().for_each(|id| value.extend(id.to_be_bytes()));
    chunk(130, 0, &value)
}

/// A packet with the given chunks; `header` is the first twelve bytes of any other to the same end.
pub fn packet(header: &[u8; 12], chunks: &[u8]) -> Bytes {
    let mut packet = header.to_vec();
    packet.extend(chunks);
    wire::seal(&mut packet);
    packet.into()
}

impl Sctp {
    pub(crate) fn raw_header(&self) -> Option<([u8; 12], u32)> {
        let last = self.last_data.as_ref()?;
        let mut header = [0; 12];
        header.copy_from_slice(&last[..12]);
        Some((header, wire::u32_at(last, 16).wrapping_add(1)))
    }
}

/// A DTLS server's end of an association, connected, with one reliable channel on stream 0.
pub struct Raw {
    sctp: Sctp,
    /// Common header of packets to this end.
    pub header: [u8; 12],
    /// The TSN of the next DATA chunk.
    pub next_tsn: u32,
    /// The sequence number of the next request to reset streams.
    pub next_reset: u32,
    /// TSN of the last DATA chunk that was sent for the first time.
    pub last_sent: u32,
    /// Messages received: stream and length.
    pub messages: Vec<(u16, usize)>,
    /// Channels that were closed.
    pub closed: Vec<u16>,
    /// Bytes given to this end, and taken from it but for its own messages.
    pub sent: usize,
    /// See `sent`.
    pub answered: usize,
}

impl Raw {
    /// Bytes that its channels hold unsent.
    pub const CHANNEL_BUFFER: usize = 1 << 20;

    /// Connects an association and opens its channel.
    pub fn connected(now: Instant) -> Self {
        let [mut sctp, mut peer] = [
            Sctp::new(Self::CHANNEL_BUFFER),
            Sctp::new(Self::CHANNEL_BUFFER),
        ];
        sctp.start(now, false);
        peer.start(now, true);
        let options = ChannelOptions {
            label: "raw".into(),
            protocol: String::new(),
            ordered: true,
            max_retransmits: None,
            negotiated: None,
        };
        let _opens = peer.open_channel(now, options);
        let mut header = [0; 12];
        let (mut tsn, mut initial_tsn) = (0, 0);
        while !sctp.packets.is_empty() || !peer.packets.is_empty() {
            while let Some(packet) = peer.packets.pop_front() {
                header.copy_from_slice(&packet[..12]);
                let number = |at| wire::u32_at(&packet, at);
                match packet[12] {
                    0 => tsn = number(16),
                    1 => initial_tsn = number(28),
                    _ => {}
                }
                sctp.handle_packet(now, packet);
            }
            while let Some(packet) = sctp.packets.pop_front() {
                peer.handle_packet(now, packet);
            }
        }
        sctp.events.clear();
        Self {
            sctp,
            header,
            next_tsn: tsn.wrapping_add(1),
            next_reset: initial_tsn,
            last_sent: 0,
            messages: Vec::new(),
            closed: Vec::new(),
            sent: 0,
            answered: 0,
        }
    }

    /// Gives the association a packet with these chunks; returns the answers.
    pub fn give(&mut self, now: Instant, chunks: &[u8]) -> Vec<Bytes> {
        let packet = packet(&self.header, chunks);
        self.give_bytes(now, packet)
    }

    /// Gives the association a packet.
    pub fn give_bytes(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        self.sent += packet.len();
        self.sctp.handle_packet(now, packet);
        self.take()
    }

    /// Runs what is due; returns what is sent.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Bytes> {
        if self.sctp.next_timeout().is_some_and(|at| at <= now) {
            self.sctp.handle_timeout(now);
        }
        self.take()
    }

    /// Sends a message on a channel.
    ///
    /// # Errors
    /// [`DataError`]; the message was not taken.
    pub fn send(&mut self, now: Instant, stream: u16, bytes: &[u8]) -> Result<(), DataError> {
        self.sctp.send(now, stream, bytes, true)
    }

    /// Chunks that are on their way.
    pub fn in_flight(&self) -> usize {
        self.sctp.guard.in_flight()
    }

    /// Leaves what arrives in the association, or takes it out again.
    pub fn pause(&mut self, now: Instant, paused: bool) {
        self.sctp.pause(now, paused);
    }

    /// What was refused.
    pub fn refused(&self) -> SctpRefused {
        self.sctp.refused()
    }

    /// Whether there is an association.
    pub fn is_alive(&self) -> bool {
        matches!(self.sctp.phase, Phase::Running { .. })
    }

    fn take(&mut self) -> Vec<Bytes> {
        for event in self.sctp.events.drain(..) {
            match event {
                TransportEvent::Data {
                    stream_id, bytes, ..
                } => self.messages.push((stream_id, bytes.len())),
                TransportEvent::ChannelClosed { stream_id } => self.closed.push(stream_id),
                _ => {}
            }
        }
        let packets: Vec<_> = self.sctp.packets.drain(..).collect();
        self.last_sent = self.sctp.guard.last_sent();
        let answers = packets
            .iter()
            .filter(|packet| packet[12] != wire::kind::DATA);
        self.answered += answers.map(Bytes::len).sum::<usize>();
        packets
    }
}
