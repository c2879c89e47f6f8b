//! A publisher of VP8 simulcast and a sink that keeps what it is given.
#![allow(dead_code, reason = "each test uses another part")]
#![allow(clippy::unwrap_used, reason = "it is for tests")]

pub mod call;
#[path = "../../../rtp/tests/descriptor/mod.rs"]
mod descriptor;
pub mod encoder;
pub mod svc;

use std::time::{Duration, Instant};

use descriptor::{Frame, TestDescriptor, TestStructure};
use lkpy_sfu::{
    CodecParameters, DownTrackConfig, Encoding, HeaderExtension, MediaKind, PacketSink,
    PublisherClock, Receiver, ReceiverConfig, Reserved, RtpOutcome,
};
use rtp::RtpHeader;
use rtp::extension::{ExtensionKind, ExtensionMap, ParsedExtensions};
use rtp::header::{HeaderFields, write_header};
use rtp::rtcp::SenderInfo;
use rtp::vp8::Vp8Descriptor;

pub const MS: Duration = Duration::from_millis(1);
pub const FRAME: Duration = Duration::from_millis(33);
pub const VIDEO_PT: u8 = 96;
pub const RTX_PT: u8 = 97;
/// The publisher's id of the dependency descriptor.
const DESCRIPTOR_ID: u8 = 8;

pub fn vp8(payload_type: u8) -> CodecParameters {
    CodecParameters {
        payload_type,
        mime_type: "video/vp8".to_owned(),
        clock_rate: 90_000,
        rtx_payload_type: Some(payload_type + 1),
        nack: true,
        pli: true,
        ..CodecParameters::default()
    }
}

pub fn opus(payload_type: u8) -> CodecParameters {
    CodecParameters {
        payload_type,
        mime_type: "audio/opus".to_owned(),
        clock_rate: 48_000,
        nack: true,
        ..CodecParameters::default()
    }
}

pub fn ssrc_of(layer: u8) -> u32 {
    1000 + u32::from(layer)
}

pub fn receiver_config(layers: u8) -> ReceiverConfig {
    let mut config = ReceiverConfig::new(MediaKind::Video);
    config.codecs = vec![vp8(VIDEO_PT)];
    config.header_extensions = vec![HeaderExtension {
        id: DESCRIPTOR_ID,
        uri: ExtensionKind::DependencyDescriptor.uri().to_owned(),
    }];
    config.encodings = (0..layers)
        .map(|spatial| Encoding {
            spatial,
            ssrc: Some(ssrc_of(spatial)),
            rtx_ssrc: Some(ssrc_of(spatial) + 100),
            rid: None,
        })
        .collect();
    config
}

pub fn down_track_config(epoch: Instant, ssrc: u32) -> DownTrackConfig {
    DownTrackConfig {
        mid: "1".to_owned(),
        ssrc,
        rtx_ssrc: Some(ssrc + 1),
        cname: "publisher".to_owned(),
        codecs: vec![vp8(110), opus(63)],
        header_extensions: Vec::new(),
        max_spatial: 2,
        max_temporal: 3,
        muted: false,
        translate_red: true,
        playout_delay: None,
        strip_trailer: false,
        rtx_budget: None,
        epoch,
    }
}

/// What a test packet says about its origin, in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub layer: u8,
    /// Counts the layer's packets.
    pub packet: u32,
    /// Counts the layer's frames.
    pub frame: u32,
    pub key: bool,
    pub temporal: u8,
}

/// One packet of the publisher.
#[derive(Clone, Debug)]
pub struct Published {
    pub bytes: Vec<u8>,
    pub origin: Origin,
    pub sequence: u16,
}

/// One layer of the publisher.
#[derive(Clone, Debug)]
pub struct PublishedLayer {
    pub layer: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub picture_id: u16,
    pub tl0: u8,
    pub key_idx: u8,
    /// It tells its temporal layers as Chromium does: in dependency descriptors, and nothing in
    /// VP8's own.
    pub described: bool,
    packets: u32,
    frames: u32,
    since_key: u32,
}

impl PublishedLayer {
    /// Numbers near their wraps, different on each layer.
    pub fn new(layer: u8) -> Self {
        let offset = u16::from(layer);
        Self {
            layer,
            sequence: 65_530 + offset,
            timestamp: u32::MAX - 20_000 * (u32::from(layer) + 1),
            picture_id: 0x7ff0 + 3 * offset,
            tl0: 250 + layer,
            key_idx: 30,
            described: false,
            packets: 0,
            frames: 0,
            since_key: 0,
        }
    }

    /// The next frame, `packets` packets long, in the temporal pattern 0 2 1 2.
    pub fn frame(&mut self, key: bool, packets: usize) -> Vec<Published> {
        if key {
            self.since_key = 0;
            self.key_idx = (self.key_idx + 1) & 0x1f;
        }
        let temporal = [0, 2, 1, 2][self.since_key as usize % 4];
        let sync = matches!(self.since_key % 4, 1 | 2);
        self.since_key += 1;
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.frames += 1;
        let published = (0..packets).map(|packet| {
            let origin = Origin {
                layer: self.layer,
                packet: self.packets,
                frame: self.frames,
                key,
                temporal,
            };
            self.packets += 1;
            self.sequence = self.sequence.wrapping_add(1);
            let payload = self.payload(origin, sync, packet == 0);
            let place = (packet == 0, packet + 1 == packets);
            let bytes = self.packet(place, origin, &payload);
            Published {
                bytes,
                origin,
                sequence: self.sequence,
            }
        });
        let published = published.collect::<Vec<_>>();
        self.timestamp = self.timestamp.wrapping_add(2970);
        published
    }

    /// A packet of nothing but padding, as libwebrtc sends to probe without RTX.
    pub fn padding(&mut self) -> Published {
        self.sequence = self.sequence.wrapping_add(1);
        let origin = Origin {
            layer: self.layer,
            packet: u32::MAX,
            frame: self.frames,
            key: false,
            temporal: 0,
        };
        let mut bytes = self.packet((false, false), origin, &[0, 0, 0, 4]);
        bytes[0] |= 0x20;
        Published {
            bytes,
            origin,
            sequence: self.sequence,
        }
    }

    fn payload(&self, origin: Origin, sync: bool, first: bool) -> Vec<u8> {
        let start = if first { 0x10 } else { 0 };
        let [high, low] = self.picture_id.to_be_bytes();
        let tid = origin.temporal << 6 | u8::from(sync) << 5 | self.key_idx;
        let mut payload = match self.described {
            true => vec![start],
            false => vec![0x80 | start, 0xf0, 0x80 | high, low, self.tl0, tid],
        };
        payload.push(u8::from(!origin.key));
        payload.push(origin.layer);
        payload.extend(origin.packet.to_be_bytes());
        payload.extend(origin.frame.to_be_bytes());
        payload.push(u8::from(origin.key) << 4 | origin.temporal);
        payload
    }

    /// Frame 0 refers to the 0 before it, 1 and the first 2 to the 0, the second 2 to the 1.
    fn descriptor(&self, (start, end): (bool, bool), origin: Origin) -> Vec<u8> {
        let template = |temporal, indications: [u8; 3], reference: &[u16]| Frame {
            temporal,
            indications: indications.into(),
            references: reference.into(),
            ..Frame::default()
        };
        let templates = vec![
            template(0, [2, 2, 2], &[]),
            template(0, [2, 2, 2], &[4]),
            template(1, [0, 1, 2], &[2]),
            template(2, [0, 0, 1], &[1]),
        ];
        let structure = TestStructure {
            template_offset: self.layer * 10,
            templates,
            ..TestStructure::default()
        };
        let index = if origin.key { 0 } else { origin.temporal + 1 };
        let descriptor = TestDescriptor {
            start,
            end,
            template: structure.template_offset + index,
            frame_number: (origin.frame as u16).wrapping_add(65_530),
            structure: (origin.key && start).then_some(structure),
            ..TestDescriptor::default()
        };
        descriptor.to_bytes()
    }

    fn packet(&self, place: (bool, bool), origin: Origin, payload: &[u8]) -> Vec<u8> {
        let fields = HeaderFields {
            marker: place.1,
            payload_type: VIDEO_PT,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: ssrc_of(self.layer),
            csrcs: &[],
        };
        let mut bytes = vec![0; 100];
        let descriptor = self.described.then(|| self.descriptor(place, origin));
        let extensions = descriptor.iter().map(|value| (DESCRIPTOR_ID, &value[..]));
        let len = write_header(&mut bytes, &fields, extensions).unwrap();
        bytes.truncate(len);
        bytes.extend(payload);
        bytes
    }
}

/// Gives a packet to the receiver.
pub fn receive(receiver: &mut Receiver, now: Instant, bytes: &[u8]) -> RtpOutcome {
    let header = RtpHeader::parse(bytes).unwrap();
    let uri = ExtensionKind::DependencyDescriptor.uri();
    let map = ExtensionMap::from_uris([(DESCRIPTOR_ID, uri)]);
    let extensions = ParsedExtensions::parse(&map, &header, bytes);
    receiver.handle_rtp(now, &header, &extensions, bytes)
}

/// The packet as a retransmission (RFC 4588).
pub fn as_rtx(published: &Published, rtx_sequence: u16) -> Vec<u8> {
    let header = RtpHeader::parse(&published.bytes).unwrap();
    let mut bytes = published.bytes.clone();
    let original = [bytes[2], bytes[3]];
    bytes[1] = bytes[1] & 0x80 | RTX_PT;
    bytes[2..4].copy_from_slice(&rtx_sequence.to_be_bytes());
    bytes[8..12].copy_from_slice(&(header.ssrc + 100).to_be_bytes());
    bytes.splice(12..12, original);
    bytes
}

/// Sender reports of all layers that say that their present timestamps are the same moment.
pub fn report(
    receiver: &mut Receiver,
    now: Instant,
    ntp: u64,
    layers: &[PublishedLayer],
    clock: &mut PublisherClock,
) {
    for layer in layers {
        let info = SenderInfo {
            ntp,
            rtp_timestamp: layer.timestamp,
            ..SenderInfo::default()
        };
        assert!(receiver.handle_sender_report(now, ssrc_of(layer.layer), &info, clock));
    }
}

/// One packet as the subscriber sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub header: RtpHeader,
    pub payload: Vec<u8>,
    pub header_len: usize,
    /// The whole packet.
    pub bytes: Vec<u8>,
    /// It was said to carry a transport-wide sequence number.
    pub numbered: bool,
}

impl Sent {
    /// Where the packet came from; none if it has no payload.
    pub fn origin(&self) -> Option<Origin> {
        origin_of(&self.payload)
    }

    pub fn vp8(&self) -> Vp8Descriptor {
        Vp8Descriptor::parse(&self.payload).unwrap()
    }

    /// The packet that a retransmission carries.
    pub fn unwrap_rtx(&self) -> (u16, Vec<u8>) {
        let original = u16::from_be_bytes([self.payload[0], self.payload[1]]);
        (original, self.payload[2..].to_vec())
    }
}

pub fn origin_of(payload: &[u8]) -> Option<Origin> {
    let marks = payload.get(Vp8Descriptor::parse(payload)?.len + 1..)?;
    let word = |at: usize| {
        marks[at..at + 4]
            .iter()
            .fold(0, |sum, &b| sum << 8 | u32::from(b))
    };
    Some(Origin {
        layer: marks[0],
        packet: word(1),
        frame: word(5),
        key: marks[9] >> 4 != 0,
        temporal: marks[9] & 0x0f,
    })
}

/// Keeps everything.
#[derive(Debug)]
pub struct Sink {
    buf: Vec<u8>,
    pub sent: Vec<Sent>,
    pub full: bool,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            buf: vec![0xee; 1600],
            sent: Vec::new(),
            full: false,
        }
    }
}

impl PacketSink for Sink {
    fn reserve(&mut self) -> Option<Reserved<'_>> {
        (!self.full).then_some(Reserved {
            buf: &mut self.buf,
            transport_sequence: self.sent.len() as u16,
        })
    }

    fn commit(&mut self, header_len: usize, len: usize, uses_transport_sequence: bool) {
        let packet = &self.buf[..len];
        let header = RtpHeader::parse(packet).unwrap();
        let payload = packet[header_len..len - header.padding_len()].to_vec();
        self.sent.push(Sent {
            header,
            payload,
            header_len,
            bytes: packet.to_vec(),
            numbered: uses_transport_sequence,
        });
    }
}
