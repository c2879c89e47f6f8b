//! A publisher of one stream with three spatial and three temporal layers.

use std::time::Instant;

use lkpy_sfu::{
    CodecParameters, DownTrack, DownTrackConfig, HeaderExtension, MediaKind, Receiver,
    ReceiverConfig, RtpOutcome,
};
use rtp::RtpHeader;
use rtp::dependency::{Descriptor, Structure};
use rtp::extension::{ExtensionKind, ExtensionMap, ParsedExtensions};
use rtp::header::{HeaderFields, write_header};

use super::{FRAME, Sent, Sink, descriptor, down_track_config};
use descriptor::{Frame, TestDescriptor, TestStructure};

const SSRC: u32 = 7000;
const PT: u8 = 45;
/// The publisher's id of the dependency descriptor, and the subscriber's.
const DESCRIPTOR_IDS: (u8, u8) = (8, 3);
const LAYERS: u8 = 3;

/// How a publisher's layers depend on each other and say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// AV1 with dependency descriptors, each layer on the one below (L3T3).
    Full,
    /// The same, but only in key pictures (L3T3_KEY).
    Key,
    /// VP9 without dependency descriptors, each layer on the one below.
    Vp9,
}

/// What a packet's payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub picture: u32,
    pub frame: u16,
    pub spatial: u8,
    pub temporal: u8,
    pub key: bool,
}

/// A frame as it was published.
#[derive(Clone, Debug)]
pub struct Made {
    pub number: u16,
    pub references: Vec<u16>,
}

/// The publisher's side.
#[derive(Clone, Debug)]
pub struct SvcPublisher {
    mode: Mode,
    /// The encoder has dropped the layers below.
    pub lowest: u8,
    pub sequence: u16,
    timestamp: u32,
    pub frame: u16,
    pictures: u32,
    since_key: u32,
    /// Number of the last frame of each temporal layer on each spatial layer.
    last: [[u16; 3]; 3],
    /// Number of the last frame of each chain.
    chains: [u16; 3],
    pub made: Vec<Made>,
}

impl SvcPublisher {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            lowest: 0,
            sequence: 65_500,
            timestamp: u32::MAX - 50_000,
            frame: 65_400,
            pictures: 0,
            since_key: 0,
            last: [[0; 3]; 3],
            chains: [0; 3],
            made: Vec::new(),
        }
    }

    /// The packets of the next picture, `packets` on each layer from the lowest to the one below `layers`.
    pub fn picture(&mut self, key: bool, layers: u8, packets: usize) -> Vec<Vec<u8>> {
        if key {
            self.since_key = 0;
        }
        let temporal = [0, 2, 1, 2][self.since_key as usize % 4];
        let mut out = Vec::new();
        for spatial in self.lowest..layers {
            let own = self.begin_frame(key, spatial, temporal);
            for index in 0..packets {
                let (start, end) = (index == 0, index + 1 == packets);
                self.sequence = self.sequence.wrapping_add(1);
                let marker = end && spatial + 1 == layers;
                let payload = self.payload(key, spatial, temporal, start, end);
                let value = match self.mode {
                    Mode::Vp9 => None,
                    _ => Some(self.descriptor(key, spatial, temporal, (start, end), &own)),
                };
                out.push(self.packet(marker, value, &payload));
            }
        }
        self.since_key += 1;
        self.pictures += 1;
        self.timestamp = self.timestamp.wrapping_add(2970);
        out
    }

    fn begin_frame(&mut self, key: bool, spatial: u8, temporal: u8) -> Frame {
        self.frame = self.frame.wrapping_add(1);
        let (s, t) = (usize::from(spatial), usize::from(temporal));
        let mut referred = Vec::new();
        if !key {
            let age = |&number: &u16| self.frame.wrapping_sub(number);
            let lower = self.last[s][..t.max(1)].iter().copied();
            referred.extend(lower.min_by_key(age));
        }
        if spatial > self.lowest && (key || self.mode != Mode::Key) {
            referred.push(self.frame.wrapping_sub(1));
        }
        let references = referred
            .iter()
            .map(|&number| self.frame.wrapping_sub(number));
        let begins = key && spatial == self.lowest;
        let distances = self.chains.map(|last| {
            if begins {
                0
            } else {
                self.frame.wrapping_sub(last) as u8
            }
        });
        let frame = Frame {
            spatial,
            temporal,
            indications: self.indications(key, spatial, temporal),
            references: references.collect(),
            chains: distances.to_vec(),
        };
        self.made.push(Made {
            number: self.frame,
            references: referred,
        });
        if key {
            self.last[s] = [self.frame; 3];
        }
        self.last[s][t] = self.frame;
        for (chain, last) in (0..).zip(&mut self.chains) {
            let lower = spatial < chain && (key || self.mode != Mode::Key);
            if temporal == 0 && (spatial == chain || lower) {
                *last = self.frame;
            }
        }
        frame
    }

    fn indications(&self, key: bool, spatial: u8, temporal: u8) -> Vec<u8> {
        let targets = (0..LAYERS).flat_map(|s| (0..LAYERS).map(move |t| (s, t)));
        let present = targets.map(|(s, t)| {
            let lower = spatial < s && (key || self.mode != Mode::Key);
            u8::from(temporal <= t && (spatial == s || lower)) * 3
        });
        present.collect()
    }

    fn structure(&self) -> TestStructure {
        let layers = (0..LAYERS).flat_map(|s| (0..LAYERS).map(move |t| (s, t)));
        TestStructure {
            template_offset: 60,
            templates: layers
                .map(|(spatial, temporal)| Frame {
                    spatial,
                    temporal,
                    indications: self.indications(true, spatial, temporal),
                    references: Vec::new(),
                    chains: vec![0; 3],
                })
                .collect(),
            protected_by: vec![0, 0, 0, 1, 1, 1, 2, 2, 2],
            sizes: vec![(320, 180), (640, 360), (1280, 720)],
        }
    }

    fn descriptor(
        &self,
        key: bool,
        spatial: u8,
        temporal: u8,
        (start, end): (bool, bool),
        own: &Frame,
    ) -> Vec<u8> {
        let descriptor = TestDescriptor {
            start,
            end,
            template: (60 + spatial * LAYERS + temporal) & 0x3f,
            frame_number: self.frame,
            structure: (key && spatial == self.lowest && start).then(|| self.structure()),
            active: (key && self.lowest > 0).then(|| (0x1ff & !0 << (3 * self.lowest), 9)),
            own: Some(own.clone()),
        };
        descriptor.to_bytes()
    }

    fn payload(&self, key: bool, spatial: u8, temporal: u8, start: bool, end: bool) -> Vec<u8> {
        let mut payload = Vec::new();
        if self.mode == Mode::Vp9 {
            let flags = 0x20 | u8::from(!key) << 6 | u8::from(start) << 3 | u8::from(end) << 2;
            let up = u8::from(self.since_key % 4 != 3);
            let layer = temporal << 5 | up << 4 | spatial << 1 | u8::from(spatial > self.lowest);
            payload.extend([flags, layer, self.pictures as u8]);
        } else {
            payload.extend([u8::from(key && spatial == self.lowest && start) << 3, 0, 0]);
        }
        payload.extend(self.pictures.to_be_bytes());
        payload.extend(self.frame.to_be_bytes());
        payload.extend([spatial, temporal, u8::from(key)]);
        payload
    }

    fn packet(&self, marker: bool, descriptor: Option<Vec<u8>>, payload: &[u8]) -> Vec<u8> {
        let fields = HeaderFields {
            marker,
            payload_type: PT,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: SSRC,
            csrcs: &[],
        };
        let mut bytes = vec![0; 300];
        let extensions = descriptor
            .iter()
            .map(|value| (DESCRIPTOR_IDS.0, &value[..]));
        let len = write_header(&mut bytes, &fields, extensions).unwrap();
        bytes.truncate(len);
        bytes.extend(payload);
        bytes
    }
}

/// What a packet's payload says, if it has one.
pub fn mark_of(payload: &[u8]) -> Option<Mark> {
    let marks = payload.get(3..12)?;
    Some(Mark {
        picture: u32::from_be_bytes([marks[0], marks[1], marks[2], marks[3]]),
        frame: u16::from_be_bytes([marks[4], marks[5]]),
        spatial: marks[6],
        temporal: marks[7],
        key: marks[8] != 0,
    })
}

/// One publisher and one subscriber of its stream.
pub struct SvcCall {
    pub now: Instant,
    pub publisher: SvcPublisher,
    pub receiver: Receiver,
    pub down_track: DownTrack,
    pub sink: Sink,
    /// What the subscriber knows of the stream.
    structure: Option<Structure>,
}

impl SvcCall {
    pub fn new(mode: Mode) -> Self {
        Self::with(mode, |_| {})
    }

    pub fn with(mode: Mode, change: impl FnOnce(&mut DownTrackConfig)) -> Self {
        let now = Instant::now();
        let name = if mode == Mode::Vp9 { "vp9" } else { "av1" };
        let codec = CodecParameters {
            payload_type: PT,
            mime_type: format!("video/{name}"),
            clock_rate: 90_000,
            rtx_payload_type: Some(PT + 1),
            nack: true,
            pli: true,
            ..CodecParameters::default()
        };
        let extension = |id| HeaderExtension {
            id,
            uri: ExtensionKind::DependencyDescriptor.uri().to_owned(),
        };
        let mut config = ReceiverConfig::new(MediaKind::Video);
        config.codecs = vec![codec.clone()];
        config.header_extensions = vec![extension(DESCRIPTOR_IDS.0)];
        let receiver = Receiver::new(now, config);
        let mut config = down_track_config(now, 9000);
        config.codecs = vec![codec];
        config.header_extensions = vec![extension(DESCRIPTOR_IDS.1)];
        change(&mut config);
        let mut down_track = DownTrack::new(now, config, &receiver);
        down_track.set_connected(now, true, &receiver);
        Self {
            now,
            publisher: SvcPublisher::new(mode),
            receiver,
            down_track,
            sink: Sink::default(),
            structure: None,
        }
    }

    /// Publishes a picture of all layers and forwards it.
    pub fn picture(&mut self, key: bool) {
        let packets = self.publisher.picture(key, LAYERS, 2);
        self.now += FRAME;
        for packet in packets {
            self.receive(&packet);
        }
        self.forward();
    }

    pub fn receive(&mut self, packet: &[u8]) -> RtpOutcome {
        let kind = ExtensionKind::DependencyDescriptor;
        let map = ExtensionMap::from_uris([(DESCRIPTOR_IDS.0, kind.uri())]);
        let header = RtpHeader::parse(packet).unwrap();
        let extensions = ParsedExtensions::parse(&map, &header, packet);
        self.receiver
            .handle_rtp(self.now, &header, &extensions, packet)
    }

    pub fn forward(&mut self) {
        self.down_track
            .forward(self.now, &self.receiver, &mut self.sink);
        self.receiver.end_batch();
        self.receiver.handle_timeout(self.now);
        self.down_track.handle_timeout(self.now, &mut self.receiver);
    }

    pub fn want(&mut self, spatial: i8, temporal: i8) {
        self.down_track
            .update(self.now, spatial, temporal, false, &self.receiver);
        self.down_track.handle_timeout(self.now, &mut self.receiver);
    }

    /// Whether the publisher is asked for a key frame now.
    pub fn asked(&mut self) -> bool {
        let mut buf = Vec::new();
        let mut writer = rtp::rtcp::RtcpWriter::new(&mut buf);
        self.receiver.poll_rtcp(self.now, &mut writer);
        rtp::rtcp::parse(&buf).any(|packet| matches!(packet, Ok(rtp::rtcp::Packet::Pli { .. })))
    }

    /// The layers of the pictures sent since the last call: for each its temporal layer and the
    /// number of spatial layers.
    pub fn sent(&mut self) -> Vec<(u8, usize)> {
        let sent = std::mem::take(&mut self.sink.sent);
        let mut pictures: Vec<(u32, u8, Vec<u8>)> = Vec::new();
        for mark in sent.iter().filter_map(|sent| mark_of(&sent.payload)) {
            match pictures.last_mut() {
                Some((picture, _, layers)) if *picture == mark.picture => {
                    if layers.last() != Some(&mark.spatial) {
                        layers.push(mark.spatial);
                    }
                }
                _ => pictures.push((mark.picture, mark.temporal, vec![mark.spatial])),
            }
        }
        let layers = pictures
            .into_iter()
            .map(|(_, temporal, spatial)| (temporal, spatial.len()));
        layers.collect()
    }

    /// The dependency descriptor of a packet as the subscriber reads it.
    pub fn descriptor(&mut self, sent: &Sent) -> Descriptor {
        let mut extensions = sent.header.extensions(&sent.bytes);
        let value = extensions
            .find(|&(id, _)| id == DESCRIPTOR_IDS.1)
            .unwrap()
            .1;
        let (descriptor, attached) = Descriptor::parse(value, self.structure.as_ref()).unwrap();
        self.structure = attached.or(self.structure.take());
        descriptor
    }
}
