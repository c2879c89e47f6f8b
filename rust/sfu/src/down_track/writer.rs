//! Writing outgoing RTP headers.
//!
//! Everything that is the same for all packets of a down track is prepared once as bytes: ssrc and
//! the header extensions that the engine writes itself (mid, playout delay, absolute send time,
//! transport-wide sequence number). A packet copies that, fills in its own fields, and appends the
//! publisher's extensions that the subscriber negotiated too, under the subscriber's ids. Packets
//! that may have to be sent again as they were leave out what is true of one sending only
//! ([`Fields::sending`]).

use rtp::extension::{ExtensionKind, ONE_BYTE_PROFILE, PlayoutDelay, TWO_BYTE_PROFILE};
use rtp::header::FIXED_LEN;

use crate::packet::{ExtensionRef, is_end_to_end};
use crate::params::{DownTrackConfig, HeaderExtension};

/// Longest prepared header; the mid is left out if it does not fit.
const MAX_PREPARED: usize = 64;

/// Longest mid that is written.
const MAX_MID: usize = 16;

/// The fields of one outgoing packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// None: the header says nothing that is true of one sending only.
    pub(crate) sending: Option<Sending>,
}

/// What is true of one sending of a packet only; each is written if it was negotiated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) transport_sequence: u16,
    pub(crate) abs_send_time: [u8; 3],
}

/// The publisher's extensions of one packet; those are written that the subscriber negotiated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed<'a> {
    /// Those that are the same for every subscriber, in `packet`.
    pub(crate) extensions: &'a [ExtensionRef],
    pub(crate) packet: &'a [u8],
    /// The dependency descriptor for this subscriber, with the publisher's id.
    pub(crate) descriptor: Option<(u8, &'a [u8])>,
}

impl<'a> Passed<'a> {
    /// Ids and values; none for a reference outside the packet.
    #[inline]
    fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let packet = self.packet;
        let same = self.extensions.iter().filter_map(move |extension| {
            let start = usize::from(extension.start);
            let value = packet.get(start..start + usize::from(extension.len))?;
            Some((extension.id, value))
        });
        same.chain(self.descriptor)
    }
}

/// The extensions that the engine writes itself, by the subscriber's ids.
#[derive(Clone, Copy, Debug, Default)]
struct Own<'a> {
    mid: Option<(u8, &'a [u8])>,
    playout_delay: Option<(u8, [u8; 3])>,
    abs_send_time: Option<u8>,
    transport_sequence: Option<u8>,
}

impl<'a> Own<'a> {
    /// Those that say the same in every sending of a packet.
    fn repeatable(config: &'a DownTrackConfig) -> Self {
        let mid = config.mid.as_bytes();
        Self {
            mid: id_of(config, ExtensionKind::Mid)
                .filter(|_| (1..=MAX_MID).contains(&mid.len()))
                .map(|id| (id, mid)),
            ..Self::default()
        }
    }

    /// All of them.
    fn once(config: &'a DownTrackConfig, playout_delay: Option<PlayoutDelay>) -> Self {
        Self {
            playout_delay: id_of(config, ExtensionKind::PlayoutDelay)
                .zip(playout_delay.map(PlayoutDelay::to_bytes)),
            abs_send_time: id_of(config, ExtensionKind::AbsSendTime),
            transport_sequence: id_of(config, ExtensionKind::TransportCc),
            ..Self::repeatable(config)
        }
    }

    /// Whether one of the ids needs the two-byte form.
    fn needs_two_bytes(&self) -> bool {
        let ids = [
            self.mid.map(|(id, _)| id),
            self.playout_delay.map(|(id, _)| id),
            self.abs_send_time,
            self.transport_sequence,
        ];
        ids.into_iter().flatten().any(|id| needs_two_bytes(id, 1))
    }
}

/// The subscriber's id for an extension.
fn id_of(config: &DownTrackConfig, kind: ExtensionKind) -> Option<u8> {
    let mut extensions = config.header_extensions.iter();
    let extension = extensions.find(|extension| extension.uri == kind.uri());
    extension
        .map(|extension| extension.id)
        .filter(|&id| id != 0)
}

/// A header up to and including the engine's own extensions, in one of the two forms of RFC 8285.
#[derive(Debug)]
struct Prepared {
    bytes: [u8; MAX_PREPARED],
    /// With padding to whole words.
    len: usize,
    /// Without that padding.
    elements_end: usize,
    /// Places of the values, 0 if not negotiated.
    abs_send_time: usize,
    transport_sequence: usize,
}

impl Prepared {
    fn new(own: &Own<'_>, two_byte: bool) -> Self {
        let mut prepared = Self {
            bytes: [0; MAX_PREPARED],
            len: FIXED_LEN,
            elements_end: FIXED_LEN + 4,
            abs_send_time: 0,
            transport_sequence: 0,
        };
        prepared.bytes[0] = 0x80;
        if let Some((id, mid)) = own.mid {
            prepared.element(two_byte, id, mid);
        }
        if let Some((id, delay)) = own.playout_delay {
            prepared.element(two_byte, id, &delay);
        }
        if let Some(id) = own.abs_send_time {
            prepared.abs_send_time = prepared.element(two_byte, id, &[0; 3]);
        }
        if let Some(id) = own.transport_sequence {
            prepared.transport_sequence = prepared.element(two_byte, id, &[0; 2]);
        }
        if prepared.elements_end > FIXED_LEN + 4 {
            prepared.len = prepared.elements_end.next_multiple_of(4);
            write_block_header(&mut prepared.bytes, prepared.len, two_byte);
        }
        prepared
    }

    /// Appends an element and returns the place of its value.
    fn element(&mut self, two_byte: bool, id: u8, value: &[u8]) -> usize {
        let end = write_element(&mut self.bytes, self.elements_end, two_byte, id, value);
        self.elements_end = end.unwrap_or(self.elements_end);
        self.elements_end - value.len()
    }
}

/// Writes the profile and length of the extension block that ends at `end`, and sets the X bit.
fn write_block_header(buf: &mut [u8], end: usize, two_byte: bool) {
    let profile = if two_byte {
        TWO_BYTE_PROFILE
    } else {
        ONE_BYTE_PROFILE
    };
    let words = ((end - FIXED_LEN) / 4 - 1) as u16;
    buf[FIXED_LEN..FIXED_LEN + 2].copy_from_slice(&profile.to_be_bytes());
    buf[FIXED_LEN + 2..FIXED_LEN + 4].copy_from_slice(&words.to_be_bytes());
    buf[0] |= 0x10;
}

/// Writes one element at `at` and returns its end, or `None` if it does not fit.
fn write_element(buf: &mut [u8], at: usize, two_byte: bool, id: u8, value: &[u8]) -> Option<usize> {
    let start = at + if two_byte { 2 } else { 1 };
    let end = start + value.len();
    let element = buf.get_mut(at..end)?;
    if two_byte {
        element[0] = id;
        element[1] = value.len() as u8;
    } else {
        element[0] = id << 4 | (value.len() - 1) as u8;
    }
    element[start - at..].copy_from_slice(value);
    Some(end)
}

fn needs_two_bytes(id: u8, len: usize) -> bool {
    id > 14 || len == 0 || len > 16
}

/// The same prepared header in both forms.
#[derive(Debug)]
struct Forms {
    one_byte: Prepared,
    two_byte: Prepared,
    /// One of the engine's own extensions needs the two-byte form.
    always_two_byte: bool,
}

impl Forms {
    fn new(own: &Own<'_>) -> Self {
        Self {
            one_byte: Prepared::new(own, false),
            two_byte: Prepared::new(own, true),
            always_two_byte: own.needs_two_bytes(),
        }
    }
}

/// Writes the headers of one down track.
#[derive(Debug)]
pub(crate) struct HeaderWriter {
    /// For packets with [`Fields::sending`].
    once: Forms,
    /// For those without.
    repeatable: Forms,
    /// The subscriber's id for each of the publisher's ids, 0 if it is not passed on.
    rewrite: [u8; 256],
}

impl HeaderWriter {
    pub(crate) fn new(config: &DownTrackConfig) -> Self {
        Self {
            once: Forms::new(&Own::once(config, None)),
            repeatable: Forms::new(&Own::repeatable(config)),
            rewrite: [0; 256],
        }
    }

    /// Packets with [`Fields::sending`] carry this playout delay from now on, or none.
    pub(crate) fn set_playout_delay(
        &mut self,
        config: &DownTrackConfig,
        playout_delay: Option<PlayoutDelay>,
    ) {
        self.once = Forms::new(&Own::once(config, playout_delay));
    }

    /// Learns the publisher's ids: an extension is passed on if both negotiated it, except those
    /// that say something about one hop only.
    pub(crate) fn set_source(&mut self, own: &[HeaderExtension], source: &[HeaderExtension]) {
        self.rewrite = [0; 256];
        for extension in source
            .iter()
            .filter(|extension| is_end_to_end(&extension.uri))
        {
            if let Some(own) = own.iter().find(|own| own.uri == extension.uri) {
                self.rewrite[usize::from(extension.id)] = own.id;
            }
        }
    }

    /// Whether a packet with these fields carries a transport-wide sequence number.
    #[inline]
    pub(crate) fn has_transport_sequence(&self, fields: &Fields) -> bool {
        fields.sending.is_some() && self.once.one_byte.transport_sequence != 0
    }

    /// Writes the header of a packet and returns its length, or `None` if `buf` is too short.
    #[inline]
    pub(crate) fn write(
        &self,
        buf: &mut [u8],
        fields: &Fields,
        passed: &Passed<'_>,
    ) -> Option<usize> {
        let rewritten = || {
            let known = |&(id, _): &(u8, _)| self.rewrite[usize::from(id)] != 0;
            passed.iter().filter(known)
        };
        let any_passed = rewritten().next().is_some();
        let forms = match fields.sending {
            Some(_) => &self.once,
            None => &self.repeatable,
        };
        let two_byte = forms.always_two_byte
            || any_passed
                && rewritten()
                    .any(|(id, value)| needs_two_bytes(self.rewrite[usize::from(id)], value.len()));
        let prepared = if two_byte {
            &forms.two_byte
        } else {
            &forms.one_byte
        };
        // A copy of constant length is a few instructions; a copy of `len` bytes is a call.
        *buf.first_chunk_mut()? = prepared.bytes;
        buf[1] = u8::from(fields.marker) << 7 | fields.payload_type;
        buf[2..4].copy_from_slice(&fields.sequence.to_be_bytes());
        buf[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
        buf[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
        if let Some(sending) = &fields.sending {
            let at = prepared.abs_send_time;
            if at != 0 {
                buf[at..at + 3].copy_from_slice(&sending.abs_send_time);
            }
            let at = prepared.transport_sequence;
            if at != 0 {
                buf[at..at + 2].copy_from_slice(&sending.transport_sequence.to_be_bytes());
            }
        }
        if !any_passed {
            return Some(prepared.len);
        }
        let mut at = prepared.elements_end;
        for (id, value) in rewritten() {
            let id = self.rewrite[usize::from(id)];
            at = write_element(buf, at, two_byte, id, value)?;
        }
        let end = at.next_multiple_of(4);
        buf.get_mut(at..end)?.fill(0);
        write_block_header(buf, end, two_byte);
        Some(end)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
