//! Outgoing packets as bytes: payload types, ssrcs, and the two forms of a retransmission.
//!
//! Where RTX was negotiated, a retransmission is a packet of its own, with its own number. Where it
//! was not, it is the same packet once more, and then it must be the same byte for byte: AES-GCM
//! makes its nonce of ssrc and sequence number (RFC 7714 8.1), and two different packets with one
//! nonce give the authentication key away. So a packet that may be sent again in that form carries
//! neither absolute send time nor transport-wide sequence number, nor a playout delay. To remember
//! the first two and repeat them would be as safe, but a number that arrives a second time, or a
//! round trip late, looks to congestion control like a duplicate or like queueing. Such packets are
//! thus not covered by transport-wide feedback, only by reception reports; [`PacketSink::commit`]
//! tells which they are.
//! Everything else in a packet comes from the history and from the publisher's ring, which keep it
//! as it was.

use std::time::Instant;

use rtp::codec::Codec;
use rtp::dependency::rewrite;
use rtp::extension::{PlayoutDelay, abs_send_time};

use super::history::{Patch, Sent};
use super::redundancy::{Body, Redundancy};
use super::trailer::trailer_len;
use super::writer::{Fields, HeaderWriter, Passed, Sending};
use crate::packet::{PacketInfo, Svc};
use crate::params::{CodecParameters, DownTrackConfig};
use crate::receiver::Receiver;
use crate::sink::PacketSink;

/// The P bit of an RTP header (RFC 3550 5.1).
const PADDING_BIT: u8 = 0x20;

/// As much padding as a packet can have.
const PADDING_LEN: usize = 255;

const OPUS: &str = "audio/opus";

/// Longest dependency descriptor that is sent: no header extension is longer.
const MAX_DESCRIPTOR: usize = 255;

/// The subscriber's payload types for one codec of the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PayloadTypes {
    media: u8,
    rtx: Option<u8>,
    clock_rate: u32,
    nack: bool,
    pub(crate) redundancy: Redundancy,
}

/// Where a packet's media comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Media<'a> {
    pub(crate) info: &'a PacketInfo,
    pub(crate) packet: &'a [u8],
    pub(crate) body: Body<'a>,
}

/// What is written in front of the media.
#[derive(Clone, Copy, Debug)]
struct Front {
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
    /// The sequence number that a retransmission begins with (RFC 4588 4).
    original: Option<u16>,
    /// It may be sent again with the same ssrc and sequence number.
    repeatable: bool,
}

/// Writes the packets of one down track.
#[derive(Debug)]
pub(crate) struct Output {
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    rtx_sequence: u16,
    /// The subscriber asks for lost packets.
    has_nack: bool,
    strip_trailer: bool,
    /// By the index of the source's codec.
    payload_types: Vec<Option<PayloadTypes>>,
    writer: HeaderWriter,
    epoch: Instant,
    abs_send_time: [u8; 3],
}

impl Output {
    pub(crate) fn new(config: &DownTrackConfig, source: &Receiver) -> Self {
        let mut output = Self {
            ssrc: config.ssrc,
            rtx_ssrc: None,
            // It begins in the lower half so that losing the first packets cannot put the SRTP
            // rollover counters apart (RFC 3711 3.3.1); the ssrc is random already.
            rtx_sequence: (config.ssrc >> 16) as u16 & 0x7fff,
            has_nack: false,
            strip_trailer: config.strip_trailer,
            payload_types: Vec::new(),
            writer: HeaderWriter::new(config),
            epoch: config.epoch,
            abs_send_time: [0; 3],
        };
        output.set_source(config, source);
        output
    }

    /// Writes packets of `source` from now on.
    pub(crate) fn set_source(&mut self, config: &DownTrackConfig, source: &Receiver) {
        let codecs = source.codecs().iter();
        self.payload_types = codecs.map(|codec| payload_types(config, codec)).collect();
        self.writer
            .set_source(&config.header_extensions, source.header_extensions());
        let rtx = self.known().any(|types| types.rtx.is_some());
        let has_nack = self.known().any(|types| types.nack);
        self.rtx_ssrc = config.rtx_ssrc.filter(|_| rtx);
        self.has_nack = has_nack;
    }

    /// Writes packets as `config` says from now on.
    pub(crate) fn renegotiate(
        &mut self,
        config: &DownTrackConfig,
        playout_delay: Option<PlayoutDelay>,
        source: &Receiver,
    ) {
        self.writer = HeaderWriter::new(config);
        self.writer.set_playout_delay(config, playout_delay);
        self.set_source(config, source);
    }

    /// The packets that follow carry this playout delay, or none.
    pub(crate) fn set_playout_delay(
        &mut self,
        config: &DownTrackConfig,
        playout_delay: Option<PlayoutDelay>,
    ) {
        self.writer.set_playout_delay(config, playout_delay);
    }

    /// Sets the time of the packets that follow.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.abs_send_time = abs_send_time(now.saturating_duration_since(self.epoch));
    }

    pub(crate) fn rtx_ssrc(&self) -> Option<u32> {
        self.rtx_ssrc
    }

    /// Whether any codec of the source can be sent.
    pub(crate) fn is_sendable(&self) -> bool {
        self.known().next().is_some()
    }

    /// Whether the subscriber asks for lost packets; else nothing may be sent again.
    pub(crate) fn has_nack(&self) -> bool {
        self.has_nack
    }

    pub(crate) fn clock_rate(&self) -> u32 {
        self.known().next().map_or(90_000, |types| types.clock_rate)
    }

    /// The payload types for the source's codec with index `codec`, if it can be sent.
    #[inline]
    pub(crate) fn payload_types(&self, codec: u8) -> Option<PayloadTypes> {
        *self.payload_types.get(usize::from(codec))?
    }

    /// The payload types for a packet without media.
    pub(crate) fn any_payload_types(&self) -> Option<PayloadTypes> {
        self.known().next()
    }

    /// Writes a packet into the sink and returns its length. Without `media` it is a filler.
    #[inline]
    pub(crate) fn send<S: PacketSink + ?Sized>(
        &self,
        sent: &Sent,
        types: PayloadTypes,
        media: Option<Media<'_>>,
        sink: &mut S,
    ) -> Option<usize> {
        let front = Front {
            ssrc: self.ssrc,
            payload_type: media
                .and_then(|media| media.body.payload_type())
                .unwrap_or(types.media),
            sequence: sent.sequence(),
            original: None,
            repeatable: self.has_nack && self.rtx(types).is_none(),
        };
        self.write(front, sent, media, sink)
    }

    /// Writes a packet again: as RTX if that was negotiated (RFC 4588), else as it was.
    pub(crate) fn send_again<S: PacketSink + ?Sized>(
        &mut self,
        sent: &Sent,
        types: PayloadTypes,
        media: Option<Media<'_>>,
        sink: &mut S,
    ) -> Option<usize> {
        let Some((ssrc, payload_type)) = self.rtx(types) else {
            return self.send(sent, types, media, sink);
        };
        let front = Front {
            ssrc,
            payload_type,
            sequence: self.rtx_sequence.wrapping_add(1),
            original: Some(sent.sequence()),
            repeatable: false,
        };
        let len = self.write(front, sent, media, sink)?;
        self.rtx_sequence = front.sequence;
        Some(len)
    }

    /// Writes a packet of nothing but padding as RTX and returns its length; `None` without RTX.
    pub(crate) fn send_padding<S: PacketSink + ?Sized>(
        &mut self,
        timestamp: u32,
        sink: &mut S,
    ) -> Option<usize> {
        let (ssrc, payload_type) = self.known().find_map(|types| self.rtx(types))?;
        let front = Front {
            ssrc,
            payload_type,
            sequence: self.rtx_sequence.wrapping_add(1),
            original: None,
            repeatable: false,
        };
        let len = self.write_padding(front, timestamp, sink)?;
        self.rtx_sequence = front.sequence;
        Some(len)
    }

    /// The same in the stream itself, with the outgoing number `out`. It has the extensions of its
    /// neighbours: receivers estimate in another way when absolute send times come and go.
    pub(crate) fn send_padding_as<S: PacketSink + ?Sized>(
        &self,
        out: u64,
        timestamp: u32,
        sink: &mut S,
    ) -> Option<usize> {
        let front = Front {
            ssrc: self.ssrc,
            payload_type: self.any_payload_types()?.media,
            sequence: out as u16,
            original: None,
            repeatable: self.has_nack,
        };
        self.write_padding(front, timestamp, sink)
    }

    fn write_padding<S: PacketSink + ?Sized>(
        &self,
        front: Front,
        timestamp: u32,
        sink: &mut S,
    ) -> Option<usize> {
        let room = sink.reserve()?;
        let fields = Fields {
            ssrc: front.ssrc,
            payload_type: front.payload_type,
            marker: false,
            sequence: front.sequence,
            timestamp,
            sending: (!front.repeatable).then_some(Sending {
                transport_sequence: room.transport_sequence,
                abs_send_time: self.abs_send_time,
            }),
        };
        let header_len = self.writer.write(room.buf, &fields, &Passed::default())?;
        let padding = room.buf.get_mut(header_len..header_len + PADDING_LEN)?;
        padding.fill(0);
        padding[PADDING_LEN - 1] = PADDING_LEN as u8;
        room.buf[0] |= PADDING_BIT;
        let numbered = self.writer.has_transport_sequence(&fields);
        sink.commit(header_len, header_len + PADDING_LEN, numbered);
        Some(header_len + PADDING_LEN)
    }

    #[inline]
    fn write<S: PacketSink + ?Sized>(
        &self,
        front: Front,
        sent: &Sent,
        media: Option<Media<'_>>,
        sink: &mut S,
    ) -> Option<usize> {
        let room = sink.reserve()?;
        let buf = room.buf;
        let fields = Fields {
            ssrc: front.ssrc,
            payload_type: front.payload_type,
            marker: sent.marker,
            sequence: front.sequence,
            timestamp: sent.timestamp,
            sending: (!front.repeatable).then_some(Sending {
                transport_sequence: room.transport_sequence,
                abs_send_time: self.abs_send_time,
            }),
        };
        let mut passed = Passed::default();
        let mut descriptor = [0; MAX_DESCRIPTOR];
        if let Some(Media { info, packet, body }) = media
            && body.has_extensions()
        {
            passed.extensions = info.extensions();
            passed.packet = packet;
            passed.descriptor = rewrite_descriptor(info, packet, &sent.patch, &mut descriptor);
        }
        let header_len = self.writer.write(buf, &fields, &passed)?;
        let mut len = header_len;
        if let Some(original) = front.original {
            buf.get_mut(len..len + 2)?
                .copy_from_slice(&original.to_be_bytes());
            len += 2;
        }
        if let Some(Media { info, body, .. }) = media {
            let payload = buf.get_mut(len..)?;
            let payload_len = body.write(payload)?;
            if let (Some(vp8), Patch::Vp8(patch)) = (&info.vp8, &sent.patch) {
                vp8.patch(&mut payload[..payload_len], patch);
            }
            len += payload_len;
            if self.strip_trailer && sent.marker {
                len -= trailer_len(&payload[..payload_len]);
            }
        }
        let numbered = self.writer.has_transport_sequence(&fields);
        sink.commit(header_len, len, numbered);
        Some(len)
    }

    /// Ssrc and payload type of retransmissions of packets with these payload types, if they are
    /// packets of their own.
    #[inline]
    fn rtx(&self, types: PayloadTypes) -> Option<(u32, u8)> {
        self.rtx_ssrc.zip(types.rtx)
    }

    fn known(&self) -> impl Iterator<Item = PayloadTypes> {
        self.payload_types.iter().copied().flatten()
    }
}

/// The dependency descriptor of a packet as its subscriber gets it, with the publisher's id.
#[inline]
fn rewrite_descriptor<'a>(
    info: &PacketInfo,
    packet: &[u8],
    patch: &Patch,
    buf: &'a mut [u8; MAX_DESCRIPTOR],
) -> Option<(u8, &'a [u8])> {
    let (
        Some(Svc::Described(frame)),
        &Patch::Descriptor {
            frame_number,
            active,
        },
    ) = (&info.svc, patch)
    else {
        return None;
    };
    let place = frame.place;
    let start = usize::from(place.start);
    let value = packet.get(start..start + usize::from(place.len))?;
    let len = rewrite(value, &frame.layout, frame_number, active, buf)?;
    Some((place.id, &buf[..len]))
}

/// The subscriber's codec for the source's `codec`: the same format if there is one, else the
/// same mime type. Opus and RED stand in for each other as [`DownTrackConfig::translate_red`] says.
fn payload_types(config: &DownTrackConfig, codec: &CodecParameters) -> Option<PayloadTypes> {
    let of_mime = |mime| of_mime(&config.codecs, mime);
    let same = || of_mime(&codec.mime_type);
    let best = || {
        let exact = same().find(|own| own.fmtp == codec.fmtp);
        exact.or_else(|| same().next())
    };
    let kind = Codec::from_mime(&codec.mime_type);
    let opus = || of_mime(OPUS).next();
    let opus_type = || opus().map(|opus| opus.payload_type & 0x7f);
    let preferred = config.codecs.first().filter(|_| config.translate_red);
    let made = preferred.filter(|own| Codec::from_mime(&own.mime_type) == Codec::Red);
    let (own, redundancy) = match (kind, opus_type(), made) {
        (Codec::Opus, Some(opus), Some(red)) => (red, Redundancy::Make { opus }),
        (Codec::Red, opus_type, _) => match best() {
            Some(red) => (red, Redundancy::Keep { opus: opus_type }),
            None => (
                opus().filter(|_| config.translate_red)?,
                Redundancy::Extract,
            ),
        },
        _ => (best()?, Redundancy::Unchanged),
    };
    Some(PayloadTypes {
        media: own.payload_type & 0x7f,
        rtx: own.rtx_payload_type,
        clock_rate: codec.clock_rate,
        // What a packet repeats depends on what had come by then, and what is sent again must be
        // the same.
        nack: own.nack && !matches!(redundancy, Redundancy::Make { .. }),
        redundancy,
    })
}

fn of_mime<'a>(
    codecs: &'a [CodecParameters],
    mime: &'a str,
) -> impl Iterator<Item = &'a CodecParameters> {
    let same = |codec: &&CodecParameters| codec.mime_type.eq_ignore_ascii_case(mime);
    codecs.iter().filter(same)
}
