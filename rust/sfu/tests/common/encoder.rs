//! A publisher of one stream in any codec, which may begin anew at any time, and one subscriber.

use std::time::Instant;

use lkpy_sfu::{
    CodecParameters, DownTrack, Encoding, MediaKind, Receiver, ReceiverConfig, RtpOutcome,
};
use rtp::RtpHeader;
use rtp::extension::ParsedExtensions;
use rtp::header::{HeaderFields, write_header};
use rtp::rtcp::{self, Packet as Rtcp, RtcpWriter};

use super::{FRAME, Sent, Sink, down_track_config};

/// Ssrc of the down track.
pub const SSRC: u32 = 0x7fff_7ff0;

const PT: u8 = 96;

/// How frames are made and packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    H264,
    H265,
    Vp8,
    /// Without picture ids, as Chromium sends a single layer.
    Vp8Bare,
    Vp9,
    /// Without dependency descriptors.
    Av1,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Delimiter,
    /// The first parameter sets: SPS of H.264, VPS of H.265, or all of them together.
    Sets,
    /// The SPS of H.265.
    Sps,
    Pps,
    Picture,
}

/// How the parameter sets of a key frame come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sets {
    /// Together in one packet.
    Aggregated,
    /// Each in a packet of its own, after a delimiter.
    Separate,
    /// Each in a packet of its own, the last one first.
    Reversed,
    /// Not at all: they are known otherwise.
    OutOfBand,
}

/// What a packet says about its origin, in its last bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Counts how often the publisher began anew.
    pub incarnation: u8,
    /// Counts the packets of the incarnation.
    pub number: u32,
    /// Counts its frames.
    pub frame: u32,
    /// Counts the packets of the frame.
    pub index: u8,
    pub key: bool,
    pub kind: Kind,
}

const MARK: usize = 12;

impl Mark {
    fn bytes(self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        bytes[0] = self.incarnation;
        bytes[1..5].copy_from_slice(&self.number.to_be_bytes());
        bytes[5..9].copy_from_slice(&self.frame.to_be_bytes());
        bytes[9] = self.index;
        bytes[10] = u8::from(self.key);
        bytes[11] = self.kind as u8;
        bytes
    }

    /// What the payload says; none if there is none.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK] = payload.last_chunk()?;
        let kinds = [
            Kind::Delimiter,
            Kind::Sets,
            Kind::Sps,
            Kind::Pps,
            Kind::Picture,
        ];
        Some(Self {
            incarnation: bytes[0],
            number: u32::from_be_bytes(bytes[1..5].try_into().unwrap()),
            frame: u32::from_be_bytes(bytes[5..9].try_into().unwrap()),
            index: bytes[9],
            key: bytes[10] != 0,
            kind: kinds[usize::from(bytes[11])],
        })
    }
}

/// One packet of the publisher.
#[derive(Clone, Debug)]
pub struct Packet {
    pub bytes: Vec<u8>,
    pub mark: Mark,
}

impl Packet {
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// The packet as a retransmission (RFC 4588).
    pub fn as_rtx(&self, ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[1] = bytes[1] & 0x80 | (PT + 1);
        bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
        bytes.splice(12..12, self.sequence().to_be_bytes());
        bytes
    }
}

/// The publisher's side.
#[derive(Clone, Debug)]
pub struct Encoder {
    coding: Coding,
    pub sets: Sets,
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    incarnation: u8,
    number: u32,
    frame: u32,
    picture_id: u16,
}

impl Encoder {
    pub fn new(coding: Coding) -> Self {
        Self {
            coding,
            sets: Sets::Aggregated,
            ssrc: 77,
            sequence: 65_500,
            timestamp: u32::MAX - 9000,
            incarnation: 0,
            number: 0,
            frame: 0,
            picture_id: 0x7ffe,
        }
    }

    pub fn incarnation(&self) -> u8 {
        self.incarnation
    }

    /// Begins anew, with these numbers.
    pub fn begin_anew(&mut self, ssrc: u32, sequence: u16, timestamp: u32) {
        self.incarnation += 1;
        (self.ssrc, self.sequence, self.timestamp) = (ssrc, sequence, timestamp);
        (self.number, self.frame) = (0, 0);
        self.picture_id = sequence & 0x7fff;
    }

    /// Counts `packets` packets that nobody will ever see.
    pub fn skip(&mut self, packets: u16) {
        self.sequence = self.sequence.wrapping_add(packets);
        self.number += u32::from(packets);
        self.frame += 1;
    }

    /// The next frame, with `slices` packets of picture.
    pub fn frame(&mut self, key: bool, slices: usize) -> Vec<Packet> {
        self.frame += 1;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        let mut pieces = match key {
            true => parameter_sets(self.coding, self.sets),
            false => Vec::new(),
        };
        for slice in 0..slices {
            let place = (slice == 0, slice + 1 == slices);
            pieces.push((Kind::Picture, self.slice(key, place)));
        }
        let last = pieces.len() - 1;
        let packets = pieces.into_iter().enumerate();
        let packets = packets.map(|(index, (kind, head))| {
            let mark = Mark {
                incarnation: self.incarnation,
                number: self.number,
                frame: self.frame,
                index: index as u8,
                key,
                kind,
            };
            self.number += 1;
            self.sequence = self.sequence.wrapping_add(1);
            let bytes = self.packet(index == last, &head, mark);
            Packet { bytes, mark }
        });
        let packets = packets.collect();
        self.timestamp = self.timestamp.wrapping_add(2970);
        packets
    }

    fn slice(&self, key: bool, (first, last): (bool, bool)) -> Vec<u8> {
        let fragment = u8::from(first) << 7 | u8::from(last) << 6;
        let first = u8::from(first);
        match self.coding {
            Coding::H264 => vec![0x7c, fragment | if key { 5 } else { 1 }],
            Coding::H265 => vec![0x62, 1, fragment | if key { 19 } else { 1 }],
            Coding::Vp8 => {
                let [high, low] = self.picture_id.to_be_bytes();
                let start = 0x80 | first << 4;
                vec![start, 0x80, 0x80 | high, low, u8::from(!key)]
            }
            Coding::Vp8Bare => vec![first << 4, u8::from(!key)],
            Coding::Vp9 => vec![u8::from(!key) << 6 | first << 3 | u8::from(last) << 2],
            Coding::Av1 => vec![(1 - first) << 7 | (u8::from(key) * first) << 3, 0x0a],
        }
    }

    fn packet(&self, marker: bool, head: &[u8], mark: Mark) -> Vec<u8> {
        let fields = HeaderFields {
            marker,
            payload_type: PT,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            csrcs: &[],
        };
        let mut bytes = vec![0; 20];
        let len = write_header(&mut bytes, &fields, std::iter::empty::<(u8, &[u8])>()).unwrap();
        bytes.truncate(len);
        bytes.extend(head);
        bytes.extend(mark.bytes());
        bytes
    }
}

/// Beginnings of the payloads with the parameter sets of a key frame. What follows belongs to the last
/// unit of each.
fn parameter_sets(coding: Coding, sets: Sets) -> Vec<(Kind, Vec<u8>)> {
    let rest = MARK as u8;
    let h264 = |kind| match kind {
        Kind::Delimiter => vec![0x09],
        Kind::Sets => vec![0x67],
        _ => vec![0x68],
    };
    let h265 = |kind| match kind {
        Kind::Delimiter => vec![0x46, 1],
        Kind::Sets => vec![0x40, 1],
        Kind::Sps => vec![0x42, 1],
        _ => vec![0x44, 1],
    };
    let mut kinds = match coding {
        Coding::H264 => vec![Kind::Delimiter, Kind::Sets, Kind::Pps],
        Coding::H265 => vec![Kind::Delimiter, Kind::Sets, Kind::Sps, Kind::Pps],
        _ => return Vec::new(),
    };
    let together = match coding {
        Coding::H264 => vec![0x78, 0, 2, 0x67, 0x42, 0, 1 + rest, 0x68],
        _ => vec![0x60, 1, 0, 2, 0x40, 1, 0, 2, 0x42, 1, 0, 2 + rest, 0x44, 1],
    };
    match sets {
        Sets::OutOfBand => return Vec::new(),
        Sets::Aggregated => return vec![(Kind::Sets, together)],
        Sets::Separate => {}
        Sets::Reversed => kinds[1..].reverse(),
    }
    let payload = |kind| match coding {
        Coding::H264 => h264(kind),
        _ => h265(kind),
    };
    kinds
        .into_iter()
        .map(|kind| (kind, payload(kind)))
        .collect()
}

/// One encoder and one subscriber.
pub struct EncoderCall {
    pub now: Instant,
    pub encoder: Encoder,
    pub receiver: Receiver,
    pub down_track: DownTrack,
    pub sink: Sink,
    /// The publisher was asked for a key frame so often.
    pub asked: usize,
}

impl EncoderCall {
    pub fn new(coding: Coding) -> Self {
        let now = Instant::now();
        let name = match coding {
            Coding::H264 => "h264",
            Coding::H265 => "h265",
            Coding::Vp8 | Coding::Vp8Bare => "vp8",
            Coding::Vp9 => "vp9",
            Coding::Av1 => "av1",
        };
        let codec = CodecParameters {
            payload_type: PT,
            mime_type: format!("video/{name}"),
            clock_rate: 90_000,
            rtx_payload_type: Some(PT + 1),
            nack: true,
            pli: true,
            ..CodecParameters::default()
        };
        let mut config = ReceiverConfig::new(MediaKind::Video);
        config.codecs = vec![codec.clone()];
        config.encodings = vec![Encoding::default()];
        let receiver = Receiver::new(now, config);
        let mut config = down_track_config(now, SSRC);
        config.codecs = vec![codec];
        let mut down_track = DownTrack::new(now, config, &receiver);
        down_track.set_connected(now, true, &receiver);
        Self {
            now,
            encoder: Encoder::new(coding),
            receiver,
            down_track,
            sink: Sink::default(),
            asked: 0,
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) -> RtpOutcome {
        let header = RtpHeader::parse(bytes).unwrap();
        let extensions = ParsedExtensions::default();
        self.receiver
            .handle_rtp(self.now, &header, &extensions, bytes)
    }

    /// Forwards what came, and sees what the publisher is asked for.
    pub fn forward(&mut self) {
        self.down_track
            .forward(self.now, &self.receiver, &mut self.sink);
        self.receiver.end_batch();
        self.receiver.handle_timeout(self.now);
        let due = self.down_track.next_deadline();
        if due.is_some_and(|due| due <= self.now) {
            self.down_track.handle_timeout(self.now, &mut self.receiver);
        }
        let mut buf = Vec::new();
        self.receiver
            .poll_rtcp(self.now, &mut RtcpWriter::new(&mut buf));
        let plis = rtcp::parse(&buf).filter(|packet| matches!(packet, Ok(Rtcp::Pli { .. })));
        self.asked += plis.count();
    }

    /// The packets that come in the next turn.
    pub fn turn(&mut self, packets: &[Packet]) {
        self.now += FRAME;
        for packet in packets {
            self.receive(&packet.bytes);
        }
        self.forward();
    }

    /// A whole frame in its turn.
    pub fn frame(&mut self, key: bool) {
        let packets = self.encoder.frame(key, 2);
        self.turn(&packets);
    }

    /// The media sent since the last call.
    pub fn sent(&mut self) -> Vec<(Mark, Sent)> {
        let sent = self.sink.sent.drain(..);
        let sent = sent.filter(|sent| sent.header.ssrc == SSRC);
        sent.filter_map(|sent| Some((Mark::of(&sent.payload)?, sent)))
            .collect()
    }

    /// Frame and place in it of the media sent since the last call.
    pub fn sent_places(&mut self) -> Vec<(u32, u8)> {
        let places = self.sent().into_iter();
        places.map(|(mark, _)| (mark.frame, mark.index)).collect()
    }
}
