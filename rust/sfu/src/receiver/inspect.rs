//! Looking into a received packet, once for all subscribers.

use std::time::Instant;

use rtp::RtpHeader;
use rtp::codec::{Codec, EntryPoint, entry_point};
use rtp::extension::{ExtensionKind, ParsedExtensions};
use rtp::vp8::Vp8Descriptor;
use rtp::vp9::Vp9Descriptor;

use super::descriptors::{CurrentStructure, DescriptorReader};
use super::temporal::{TemporalPlace, TemporalReader};
use crate::packet::{ExtensionRef, MAX_PASSED_EXTENSIONS, PacketInfo, Svc, Vp9Frame, is_passed_on};
use crate::params::{MAX_SPATIAL_LAYERS, NO_PAYLOAD_TYPE, ReceiverConfig};

/// What a payload type means; `codec` is an index into the receiver's codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadKind {
    Media { codec: u8 },
    Rtx { codec: u8 },
}

/// What is known of a packet before it is looked into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inspect {
    /// The spatial layer of its stream.
    pub(crate) layer: u8,
    /// Index of its codec.
    pub(crate) codec: u8,
    /// Bytes at the beginning of the payload that are not media.
    pub(crate) skipped: u16,
    /// Whether absolute capture times mean something to subscribers: they refer to the sender
    /// reports, of which there has to be one.
    pub(crate) capture_time: bool,
}

/// The negotiated meaning of payload types and header extensions.
#[derive(Debug)]
pub(crate) struct Inspector {
    codecs: Vec<Codec>,
    payload_kinds: [Option<PayloadKind>; 128],
    /// Whether extensions with an id can be passed on to subscribers.
    passed_on: [bool; 256],
    capture_time_id: Option<u8>,
    descriptor_id: u8,
    /// The only stream of the track, which may carry several layers.
    single_stream: bool,
    descriptors: DescriptorReader,
    /// By the spatial layer of the stream.
    temporal_layers: [TemporalReader; MAX_SPATIAL_LAYERS],
}

impl Inspector {
    pub(crate) fn new(config: &ReceiverConfig) -> Self {
        let mut payload_kinds = [None; 128];
        for (codec, parameters) in (0..).zip(&config.codecs) {
            if parameters.payload_type != NO_PAYLOAD_TYPE {
                let slot = &mut payload_kinds[usize::from(parameters.payload_type & 0x7f)];
                *slot = Some(PayloadKind::Media { codec });
            }
            if let Some(rtx) = parameters.rtx_payload_type {
                payload_kinds[usize::from(rtx & 0x7f)] = Some(PayloadKind::Rtx { codec });
            }
        }
        let mut passed_on = [false; 256];
        for extension in &config.header_extensions {
            passed_on[usize::from(extension.id)] = is_passed_on(&extension.uri);
        }
        let codecs = config.codecs.iter();
        let id_of = |kind: ExtensionKind| {
            let mut extensions = config.header_extensions.iter();
            let extension = extensions.find(|extension| extension.uri == kind.uri());
            extension.map(|extension| extension.id)
        };
        Self {
            codecs: codecs
                .map(|codec| Codec::from_mime(&codec.mime_type))
                .collect(),
            payload_kinds,
            passed_on,
            capture_time_id: id_of(ExtensionKind::AbsCaptureTime),
            descriptor_id: id_of(ExtensionKind::DependencyDescriptor).unwrap_or(0),
            single_stream: config.encodings.len() == 1,
            descriptors: DescriptorReader::default(),
            temporal_layers: Default::default(),
        }
    }

    /// Takes what was negotiated anew. Payload types and ids of before mean what they did, unless they mean
    /// something else now: packets with them are on their way.
    pub(crate) fn renegotiate(&mut self, config: &ReceiverConfig) {
        let now = Self::new(config);
        for (known, kind) in self.payload_kinds.iter_mut().zip(now.payload_kinds) {
            *known = kind.or(*known);
        }
        for extension in &config.header_extensions {
            let id = usize::from(extension.id);
            self.passed_on[id] = now.passed_on[id];
        }
        self.codecs = now.codecs;
        self.capture_time_id = now.capture_time_id;
        self.descriptor_id = now.descriptor_id;
        self.single_stream = now.single_stream;
    }

    /// The structure that dependency descriptors refer to now.
    pub(crate) fn structure(&self) -> Option<&CurrentStructure> {
        self.descriptors.current()
    }

    /// The publisher's stream of the spatial layer `layer` begins anew.
    pub(crate) fn restart(&mut self, layer: u8) {
        self.descriptors.restart();
        if let Some(reader) = self.temporal_layers.get_mut(usize::from(layer)) {
            reader.restart();
        }
    }

    #[inline]
    pub(crate) fn payload_kind(&self, payload_type: u8) -> Option<PayloadKind> {
        self.payload_kinds[usize::from(payload_type & 0x7f)]
    }

    /// Reads what forwarding needs to know of a packet.
    #[inline]
    pub(crate) fn inspect(
        &mut self,
        now: Instant,
        header: &RtpHeader,
        extensions: &ParsedExtensions<'_>,
        packet: &[u8],
        known: &Inspect,
    ) -> PacketInfo {
        let range = header.payload_range();
        let payload_start = range.start as u16 + known.skipped;
        let media = usize::from(payload_start)..range.end;
        let payload = packet.get(media).unwrap_or_default();
        let codec = self.codecs.get(usize::from(known.codec)).copied();
        let codec = codec.unwrap_or(Codec::Other);
        let descriptor = extensions.dependency_descriptor;
        let vp8 = (codec == Codec::Vp8)
            .then(|| Vp8Descriptor::parse(payload))
            .flatten();
        let svc = match codec {
            Codec::Vp9 | Codec::Av1 if self.single_stream && !payload.is_empty() => {
                self.layers_of(codec, descriptor, payload, packet)
            }
            _ => None,
        };
        let temporal = match (&vp8, &svc) {
            (Some(vp8), _) => self.temporal_of(vp8, known.layer, descriptor, packet),
            (None, Some(svc)) => TemporalPlace {
                layer: svc.temporal(),
                depends_on: 0,
            },
            (None, None) => TemporalPlace::default(),
        };
        let entry = if payload.is_empty() || matches!(svc, Some(Svc::Unknown)) {
            EntryPoint::None
        } else {
            entry_point(codec, payload, descriptor)
        };
        let mut info = PacketInfo {
            arrival: now,
            timestamp: header.timestamp,
            payload_start,
            payload_len: payload.len() as u16,
            codec: known.codec,
            temporal: temporal.layer,
            depends_on_temporal: temporal.depends_on,
            marker: header.marker,
            key_frame: entry.is_some() && !codec.is_audio() && codec != Codec::Other,
            entry,
            extension_count: 0,
            extensions: [ExtensionRef::default(); MAX_PASSED_EXTENSIONS],
            vp8,
            svc,
        };
        for (id, value) in header.extensions(packet) {
            if self.passed_on[usize::from(id)] {
                self.note_extension(&mut info, id, value, packet, known.capture_time);
            }
        }
        info
    }

    /// The temporal layer of a packet of VP8.
    fn temporal_of(
        &mut self,
        vp8: &Vp8Descriptor,
        layer: u8,
        descriptor: Option<&[u8]>,
        packet: &[u8],
    ) -> TemporalPlace {
        let reader = self.temporal_layers.get_mut(usize::from(layer));
        if let Some((value, reader)) = descriptor.zip(reader) {
            let place = extension_ref(self.descriptor_id, value, packet);
            return reader.read(value, place).unwrap_or_default();
        }
        let layer = vp8.temporal_layer.unwrap_or(0);
        TemporalPlace {
            layer,
            depends_on: if vp8.layer_sync { 0 } else { layer },
        }
    }

    /// Where a packet of VP9 or AV1 belongs; `None` if it does not tell.
    fn layers_of(
        &mut self,
        codec: Codec,
        descriptor: Option<&[u8]>,
        payload: &[u8],
        packet: &[u8],
    ) -> Option<Svc> {
        if let Some(value) = descriptor {
            let place = extension_ref(self.descriptor_id, value, packet);
            let frame = self.descriptors.read(value, place);
            return Some(frame.map_or(Svc::Unknown, Svc::Described));
        }
        let vp9 = Vp9Descriptor::parse(payload).filter(|_| codec == Codec::Vp9)?;
        Some(Svc::Vp9(Vp9Frame {
            layer: vp9.layer?,
            inter_picture: vp9.inter_picture,
            start: vp9.frame_start,
            end: vp9.frame_end,
        }))
    }

    fn note_extension(
        &self,
        info: &mut PacketInfo,
        id: u8,
        value: &[u8],
        packet: &[u8],
        capture_time: bool,
    ) {
        let mut len = value.len() as u8;
        if self.capture_time_id == Some(id) {
            if !capture_time || len < 8 {
                return;
            }
            // Without the second half: the offset that it tells is the capturer's, not ours.
            len = 8;
        }
        let Some(slot) = info.extensions.get_mut(usize::from(info.extension_count)) else {
            return;
        };
        *slot = ExtensionRef {
            len,
            ..extension_ref(id, value, packet)
        };
        info.extension_count += 1;
    }
}

/// The place of `value`, which is a part of `packet`.
fn extension_ref(id: u8, value: &[u8], packet: &[u8]) -> ExtensionRef {
    let start = value.as_ptr() as usize - packet.as_ptr() as usize;
    ExtensionRef {
        id,
        len: value.len() as u8,
        start: start as u16,
    }
}
