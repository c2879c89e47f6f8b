//! Looking into a received packet, once for all subscribers.

use std::time::Instant;

use rtp::RtpHeader;
use rtp::codec::{Codec, is_key_frame};
use rtp::extension::{ExtensionKind, ParsedExtensions};
use rtp::vp8::Vp8Descriptor;

use crate::down_track::is_passed_on;
use crate::packet::{ExtensionRef, MAX_PASSED_EXTENSIONS, PacketInfo};
use crate::params::ReceiverConfig;

/// What a payload type means; `codec` is an index into the receiver's codecs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadKind {
    Media { codec: u8 },
    Rtx { codec: u8 },
}

/// What is known of a packet before it is looked into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inspect {
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
}

impl Inspector {
    pub(crate) fn new(config: &ReceiverConfig) -> Self {
        let mut payload_kinds = [None; 128];
        for (codec, parameters) in (0..).zip(&config.codecs) {
            let slot = &mut payload_kinds[usize::from(parameters.payload_type & 0x7f)];
            *slot = Some(PayloadKind::Media { codec });
            if let Some(rtx) = parameters.rtx_payload_type {
                payload_kinds[usize::from(rtx & 0x7f)] = Some(PayloadKind::Rtx { codec });
            }
        }
        let mut passed_on = [false; 256];
        for extension in &config.header_extensions {
            passed_on[usize::from(extension.id)] = is_passed_on(&extension.uri);
        }
        let codecs = config.codecs.iter();
        let mut extensions = config.header_extensions.iter();
        let capture_time = ExtensionKind::AbsCaptureTime.uri();
        let capture_time = extensions.find(|extension| extension.uri == capture_time);
        Self {
            codecs: codecs
                .map(|codec| Codec::from_mime(&codec.mime_type))
                .collect(),
            payload_kinds,
            passed_on,
            capture_time_id: capture_time.map(|extension| extension.id),
        }
    }

    #[inline]
    pub(crate) fn payload_kind(&self, payload_type: u8) -> Option<PayloadKind> {
        self.payload_kinds[usize::from(payload_type & 0x7f)]
    }

    /// Reads what forwarding needs to know of a packet.
    pub(crate) fn inspect(
        &self,
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
        let entry_point = !payload.is_empty() && is_key_frame(codec, payload, descriptor);
        let vp8 = (codec == Codec::Vp8)
            .then(|| Vp8Descriptor::parse(payload))
            .flatten();
        let mut info = PacketInfo {
            arrival: now,
            timestamp: header.timestamp,
            payload_start,
            payload_len: payload.len() as u16,
            codec: known.codec,
            temporal: vp8.and_then(|vp8| vp8.temporal_layer).unwrap_or(0),
            marker: header.marker,
            key_frame: entry_point && !codec.is_audio() && codec != Codec::Other,
            entry_point,
            extension_count: 0,
            extensions: [ExtensionRef::default(); MAX_PASSED_EXTENSIONS],
            vp8,
        };
        for (id, value) in header.extensions(packet) {
            if self.passed_on[usize::from(id)] {
                self.note_extension(&mut info, id, value, packet, known.capture_time);
            }
        }
        info
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
        // `value` is a part of `packet`.
        let start = value.as_ptr() as usize - packet.as_ptr() as usize;
        *slot = ExtensionRef {
            id,
            len,
            start: start as u16,
        };
        info.extension_count += 1;
    }
}
