//! Why something was dropped.

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
    /// SRTP or SRTCP that was received before.
    SrtpReplay,
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
    /// A data track packet that is malformed.
    DataTrackMalformed,
    /// A data track packet whose handle the publisher has no track for.
    DataTrackUnknown,
    /// A data track packet for a channel that has fallen too far behind.
    DataTrackLate,
}

impl Drop {
    const ALL: [Self; 22] = [
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
        Self::RtpMalformed,
        Self::NoReceiver,
        Self::UnexpectedMedia,
        Self::MediaRefused,
        Self::RtcpMalformed,
        Self::DataNoChannel,
        Self::DataChannelFull,
        Self::DataLate,
        Self::DataSlowReader,
        Self::DataTrackMalformed,
        Self::DataTrackUnknown,
        Self::DataTrackLate,
    ];

    const fn as_str(self) -> &'static str {
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
            Self::RtpMalformed => "rtp_malformed",
            Self::NoReceiver => "no_receiver",
            Self::UnexpectedMedia => "unexpected_media",
            Self::MediaRefused => "media_refused",
            Self::RtcpMalformed => "rtcp_malformed",
            Self::DataNoChannel => "data_no_channel",
            Self::DataChannelFull => "data_channel_full",
            Self::DataLate => "data_late",
            Self::DataSlowReader => "data_slow_reader",
            Self::DataTrackMalformed => "data_track_malformed",
            Self::DataTrackUnknown => "data_track_unknown",
            Self::DataTrackLate => "data_track_late",
        }
    }

    /// Why a packet's source is not valid.
    pub(crate) const fn of_source(error: SourceError) -> Self {
        match error {
            SourceError::Unvalidated => Self::UnvalidatedSource,
            SourceError::Expired => Self::ExpiredSource,
        }
    }

    /// Whether it is about a received datagram, not about a data message.
    const fn is_datagram(self) -> bool {
        !matches!(
            self,
            Self::DataNoChannel
                | Self::DataChannelFull
                | Self::DataLate
                | Self::DataSlowReader
                | Self::DataTrackMalformed
                | Self::DataTrackUnknown
                | Self::DataTrackLate
        )
    }
}

/// Counts by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops([u64; Drop::ALL.len()]);

impl Drops {
    pub(crate) fn count(&mut self, reason: Drop) {
        self.0[reason as usize] += 1;
    }

    /// Received datagrams that were dropped.
    pub(crate) fn datagrams(&self) -> u64 {
        let datagrams = Drop::ALL.iter().filter(|reason| reason.is_datagram());
        datagrams.map(|&reason| self.0[reason as usize]).sum()
    }

    /// The counts that are not 0.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Drop::ALL
            .iter()
            .map(|&reason| (reason.as_str(), self.0[reason as usize]));
        counts.filter(|&(_, count)| count > 0)
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
        assert_eq!(drops.datagrams(), 15);
    }
}
