//! What is negotiated anew, with the subscriber or with the publisher. The stream goes on under its ssrc, with
//! its numbers.
//!
//! What was sent before is not sent again: without RTX it would have to be the same byte for byte
//! ([`super::output`]), and its payload type and the ids of its extensions may be others now.

use std::time::Instant;

use super::DownTrack;
use super::stream::Stream;
use crate::params::{CodecParameters, DownTrackConfig, HeaderExtension};
use crate::receiver::Receiver;

impl DownTrack {
    /// The subscriber accepts these codecs and header extensions from now on. If it has none of the
    /// source's codecs any more, nothing is sent until it has.
    pub fn renegotiate(
        &mut self,
        now: Instant,
        codecs: Vec<CodecParameters>,
        header_extensions: Vec<HeaderExtension>,
        source: &Receiver,
    ) {
        self.config.codecs = codecs;
        self.config.header_extensions = header_extensions;
        self.stream.renegotiate(&self.config, source);
        self.settle(now, source);
    }

    /// The publisher sends under other payload types or ids from now on.
    pub(super) fn follow_negotiation(&mut self, now: Instant, source: &Receiver) {
        self.negotiations = source.negotiations();
        self.stream.renegotiate(&self.config, source);
        self.settle(now, source);
    }
}

impl Stream {
    fn renegotiate(&mut self, config: &DownTrackConfig, source: &Receiver) {
        let delay = self.playout_delay.as_ref();
        let delay = delay.and_then(|controller| controller.value());
        self.output.renegotiate(config, delay, source);
        self.forget_history(source);
    }
}
