//! Why something was dropped, and whose it was.

use super::Core;
use super::table::Index;
use crate::api::Event;

use rtp::srtp::SrtpError;

use transport::SourceError;

/// A reason, and its name in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Drop {
    /// Neither STUN, DTLS, RTP nor RTCP by its first byte (RFC 7983).
    Unrecognised,
    /// STUN for no transport, or with a wrong MESSAGE-INTEGRITY.
    StunRefused,
    /// STUN that was received before, here or from elsewhere, or an answer nobody waits for.
    StunRepeated,
    /// Not STUN, from an address that no transport knows.
    UnknownSource,
    /// DTLS or SRTP on a path of a transport whose peer has not proved that it is there.
    UnvalidatedSource,
    /// DTLS or SRTP on a path on which nothing authentic came for too long.
    ExpiredSource,
    /// The address belongs to another transport.
    SourceTaken,
    /// SRTP before there are keys.
    NoKeys,
    /// SRTP or SRTCP that failed authentication or is malformed.
    SrtpInvalid,
    /// SRTP or SRTCP that was received before. It is authentic.
    SrtpReplay,
    /// Authentic SRTP or SRTCP of more streams than a connection may have in its life.
    SrtpTooManyStreams,
    /// SCTP that breaks a bound: too far ahead, too many streams, gaps or pieces, too large.
    SctpRefused,
    /// RTP that is malformed after decryption.
    RtpMalformed,
    /// Media for no receiver.
    NoReceiver,
    /// Media whose ssrc, rid or payload type the receiver does not expect.
    UnexpectedMedia,
    /// Media that is too old or too long for the receiver.
    MediaRefused,
    /// RTCP that is malformed.
    RtcpMalformed,
    /// A data message for a channel that is not open.
    DataNoChannel,
    /// A data message for an unreliable channel that was full.
    DataChannelFull,
    /// A data message for an unreliable channel that has fallen too far behind.
    DataLate,
    /// A data message for a reliable channel that drains too slowly.
    DataSlowReader,
    /// A data message that is larger than the peer takes.
    DataTooLarge,
    /// A data track packet that is malformed.
    DataTrackMalformed,
    /// A data track packet whose handle the publisher has no track for.
    DataTrackUnknown,
    /// A data track packet for a channel that has fallen too far behind.
    DataTrackLate,
}

impl Drop {
    const ALL: [Self; 25] = [
        Self::Unrecognised,
        Self::StunRefused,
        Self::StunRepeated,
        Self::UnknownSource,
        Self::UnvalidatedSource,
        Self::ExpiredSource,
        Self::SourceTaken,
        Self::NoKeys,
        Self::SrtpInvalid,
        Self::SrtpReplay,
        Self::SrtpTooManyStreams,
        Self::SctpRefused,
        Self::RtpMalformed,
        Self::NoReceiver,
        Self::UnexpectedMedia,
        Self::MediaRefused,
        Self::RtcpMalformed,
        Self::DataNoChannel,
        Self::DataChannelFull,
        Self::DataLate,
        Self::DataSlowReader,
        Self::DataTooLarge,
        Self::DataTrackMalformed,
        Self::DataTrackUnknown,
        Self::DataTrackLate,
    ];

    /// The reason for which SRTP refused a packet.
    pub(super) fn of_srtp(error: SrtpError) -> Self {
        match error {
            SrtpError::Replay { .. } => Self::SrtpReplay,
            SrtpError::TooManyStreams => Self::SrtpTooManyStreams,
            _ => Self::SrtpInvalid,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unrecognised => "unrecognised",
            Self::StunRefused => "stun_refused",
            Self::StunRepeated => "stun_repeated",
            Self::UnknownSource => "unknown_source",
            Self::UnvalidatedSource => "unvalidated_source",
            Self::ExpiredSource => "expired_source",
            Self::SourceTaken => "source_taken",
            Self::NoKeys => "no_keys",
            Self::SrtpInvalid => "srtp_invalid",
            Self::SrtpReplay => "srtp_replay",
            Self::SrtpTooManyStreams => "srtp_too_many_streams",
            Self::SctpRefused => "sctp_refused",
            Self::RtpMalformed => "rtp_malformed",
            Self::NoReceiver => "no_receiver",
            Self::UnexpectedMedia => "unexpected_media",
            Self::MediaRefused => "media_refused",
            Self::RtcpMalformed => "rtcp_malformed",
            Self::DataNoChannel => "data_no_channel",
            Self::DataChannelFull => "data_channel_full",
            Self::DataLate => "data_late",
            Self::DataSlowReader => "data_slow_reader",
            Self::DataTooLarge => "data_too_large",
            Self::DataTrackMalformed => "data_track_malformed",
            Self::DataTrackUnknown => "data_track_unknown",
            Self::DataTrackLate => "data_track_late",
        }
    }

    /// Whether the first one of a transport is worth a word. The others belong to a normal call:
    /// media before keys, repeats and late packets, checks of an ICE generation before, messages that
    /// may be lost.
    const fn is_notable(self) -> bool {
        match self {
            Self::Unrecognised
            | Self::UnknownSource
            | Self::UnvalidatedSource
            | Self::ExpiredSource
            | Self::SourceTaken
            | Self::SrtpInvalid
            | Self::SrtpTooManyStreams
            | Self::SctpRefused
            | Self::RtpMalformed
            | Self::NoReceiver
            | Self::UnexpectedMedia
            | Self::RtcpMalformed
            | Self::DataSlowReader
            | Self::DataTooLarge
            | Self::DataTrackMalformed
            | Self::DataTrackUnknown => true,
            Self::StunRefused
            | Self::StunRepeated
            | Self::NoKeys
            | Self::SrtpReplay
            | Self::MediaRefused
            | Self::DataNoChannel
            | Self::DataChannelFull
            | Self::DataLate
            | Self::DataTrackLate => false,
        }
    }

    /// Why a packet's source is not valid.
    pub(crate) const fn of_source(error: SourceError) -> Self {
        match error {
            SourceError::Unvalidated => Self::UnvalidatedSource,
            SourceError::Expired => Self::ExpiredSource,
        }
    }

    const fn about(self) -> About {
        match self {
            Self::Unrecognised
            | Self::StunRefused
            | Self::StunRepeated
            | Self::SourceTaken
            | Self::SctpRefused
            | Self::RtcpMalformed => About::Control,
            Self::UnknownSource
            | Self::UnvalidatedSource
            | Self::ExpiredSource
            | Self::NoKeys
            | Self::SrtpInvalid
            | Self::SrtpTooManyStreams
            | Self::SrtpReplay
            | Self::RtpMalformed
            | Self::NoReceiver
            | Self::UnexpectedMedia
            | Self::MediaRefused => About::Media,
            Self::DataNoChannel
            | Self::DataChannelFull
            | Self::DataLate
            | Self::DataSlowReader
            | Self::DataTooLarge
            | Self::DataTrackMalformed
            | Self::DataTrackUnknown
            | Self::DataTrackLate => About::Message,
        }
    }
}

/// What was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// A received datagram that is no media.
    Control,
    /// One that is, or may be.
    Media,
    /// A data message.
    Message,
}

/// Counts by reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts([u64; Drop::ALL.len()]);

impl Counts {
    /// Counts one; returns whether it is the first for its reason.
    fn add(&mut self, reason: Drop) -> bool {
        let count = &mut self.0[reason as usize];
        *count += 1;
        *count == 1
    }

    /// Whether media was dropped since `before` for a reason that does not belong to a normal call.
    pub(crate) fn has_lost_media(&self, before: &Self) -> bool {
        let unusual = |reason: &Drop| reason.about() == About::Media && reason.is_notable();
        let grown = |reason: Drop| self.0[reason as usize] > before.0[reason as usize];
        Drop::ALL.into_iter().filter(unusual).any(grown)
    }

    /// The reason for which most media was dropped since `before`.
    pub(crate) fn most_grown(&self, before: &Self) -> Option<Drop> {
        let media = |reason: &Drop| reason.about() == About::Media;
        let reasons = Drop::ALL.into_iter().filter(media);
        let grown = reasons.map(|reason| {
            let at = reason as usize;
            (self.0[at].saturating_sub(before.0[at]), reason)
        });
        let most = grown.max_by_key(|&(growth, _)| growth)?;
        (most.0 > 0).then_some(most.1)
    }

    /// The counts that are not 0.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Drop::ALL
            .iter()
            .map(|&reason| (reason.as_str(), self.0[reason as usize]));
        counts.filter(|&(_, count)| count > 0)
    }
}

/// What a worker has dropped. Whatever is counted while something is done for a transport is that
/// transport's as well: [`Core::attribute_drops`] says whose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drops {
    counts: Counts,
    /// Not attributed yet.
    recent: Vec<Drop>,
}

impl Drops {
    pub(crate) fn count(&mut self, reason: Drop) {
        self.counts.add(reason);
        self.recent.push(reason);
    }

    /// Received datagrams that were dropped.
    pub(crate) fn datagrams(&self) -> u64 {
        let is_datagram = |reason: &&Drop| reason.about() != About::Message;
        let datagrams = Drop::ALL.iter().filter(is_datagram);
        datagrams
            .map(|&reason| self.counts.0[reason as usize])
            .sum()
    }

    /// The counts that are not 0.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.by_reason()
    }
}

impl Core {
    /// What was counted since the last call belongs to the transport at `index`, or to nobody.
    #[inline]
    pub(super) fn attribute_drops(&mut self, index: Option<Index>) {
        if !self.drops.recent.is_empty() {
            self.attribute_recent(index);
        }
    }

    #[cold]
    fn attribute_recent(&mut self, index: Option<Index>) {
        let mut recent = std::mem::take(&mut self.drops.recent);
        for reason in recent.drain(..) {
            self.note_drop(index, reason);
        }
        self.drops.recent = recent;
    }

    /// Counts what is dropped for the transport at `index`.
    pub(super) fn drop_for(&mut self, index: Option<Index>, reason: Drop) {
        self.drops.counts.add(reason);
        self.note_drop(index, reason);
    }

    fn note_drop(&mut self, index: Option<Index>, reason: Drop) {
        let connection = index.and_then(|index| self.connections.get_mut(index));
        if let Some(connection) = connection
            && connection.drops.add(reason)
            && reason.is_notable()
        {
            self.events.push(Event::PacketsDropped {
                transport: connection.id,
                reason: reason.as_str(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_and_a_name() {
        let mut drops = Drops::default();
        for (at, &reason) in Drop::ALL.iter().enumerate() {
            assert_eq!(reason as usize, at);
            drops.count(reason);
        }
        let mut names: Vec<_> = drops.by_reason().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Drop::ALL.len());
        assert_eq!(drops.datagrams(), 17);
    }
}
