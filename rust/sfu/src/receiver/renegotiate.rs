//! What a later offer changes of a track that goes on: payload types, ids of header extensions, rids and
//! ssrcs. Packets of before are on their way, and packets are in the rings, so that what was agreed on
//! first is understood as long as nothing else has its number.

use std::time::Instant;

use super::{Receiver, encoding_of, make_layer, usable};
use crate::params::{CodecParameters, Encoding, HeaderExtension, NO_PAYLOAD_TYPE};

/// Codecs that a track can have had: stored packets refer to them by number.
const MAX_CODECS: usize = 128;

impl Receiver {
    /// Takes what was negotiated anew. Returns the ssrcs that are expected now.
    pub fn renegotiate(
        &mut self,
        now: Instant,
        codecs: Vec<CodecParameters>,
        header_extensions: Vec<HeaderExtension>,
        encodings: Vec<Encoding>,
    ) -> impl Iterator<Item = u32> {
        for codec in codecs {
            take_codec(&mut self.config.codecs, codec);
        }
        self.config.header_extensions = header_extensions;
        let encodings = usable(encodings);
        if encodings != self.config.encodings {
            self.bindings.renegotiate(&encodings);
            self.config.encodings = encodings;
            self.take_encodings(now);
        }
        self.inspector.renegotiate(&self.config);
        self.negotiations = self.negotiations.wrapping_add(1);
        self.update_layer_sets();
        self.ssrcs()
    }

    /// Changes whenever something is negotiated anew.
    #[inline]
    pub(crate) fn negotiations(&self) -> u32 {
        self.negotiations
    }

    fn take_encodings(&mut self, now: Instant) {
        let encodings = &self.config.encodings;
        for (spatial, layer) in (0..).zip(&mut self.layers) {
            layer.set_encoding(encoding_of(encodings, spatial).cloned());
        }
        let highest = encodings.iter().map(|encoding| encoding.spatial).max();
        let count = self.layers.len() as u8;
        let more = (count..=highest.unwrap_or(0)).map(|s| make_layer(now, &self.config, s));
        self.layers.extend(more);
        if encodings.len() > 1 {
            self.spatial_layers = None;
        }
    }
}

/// A codec keeps its place under another payload type; one that is not there any more keeps its own as long
/// as no other has it.
fn take_codec(codecs: &mut Vec<CodecParameters>, codec: CodecParameters) {
    let same_mime = |known: &CodecParameters| {
        known.mime_type == codec.mime_type && known.clock_rate == codec.clock_rate
    };
    let same_format = |known: &CodecParameters| same_mime(known) && known.fmtp == codec.fmtp;
    let same_type =
        |known: &CodecParameters| same_mime(known) && known.payload_type == codec.payload_type;
    let place = codecs.iter().position(same_format);
    let place = place.or_else(|| codecs.iter().position(same_type));
    for (at, other) in codecs.iter_mut().enumerate() {
        if Some(at) != place {
            give_way(other, &codec);
        }
    }
    match place {
        Some(place) => codecs[place] = codec,
        None if codecs.len() < MAX_CODECS => codecs.push(codec),
        None => {}
    }
}

/// Takes payload types from `other` that `codec` has.
fn give_way(other: &mut CodecParameters, codec: &CodecParameters) {
    let is_taken = |payload_type: u8| {
        payload_type == codec.payload_type || Some(payload_type) == codec.rtx_payload_type
    };
    if is_taken(other.payload_type) {
        other.payload_type = NO_PAYLOAD_TYPE;
    }
    other.rtx_payload_type = other.rtx_payload_type.filter(|&rtx| !is_taken(rtx));
}
