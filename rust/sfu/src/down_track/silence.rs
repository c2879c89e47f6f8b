//! Why a down track sends nothing.

use super::DownTrack;
use crate::params::MediaKind;
use crate::receiver::Receiver;

/// What keeps a down track from sending, if it sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is meant to send nothing: the subscriber or the publisher muted it, the subscriber wants
    /// none of it, there is no room for it, or there is no connection.
    Intended,
    /// None of the layers that may be sent arrives.
    NoLayer,
    /// The key frame to begin with, or to go on with, has not come.
    WaitingForKeyFrame,
    /// Nothing: what arrives should go out.
    Unexplained,
}

impl DownTrack {
    /// What keeps the track from sending; it means something only while nothing is sent.
    pub fn silence(&self, source: &Receiver) -> Silence {
        if !self.is_sending() || source.is_muted() {
            Silence::Intended
        } else if self.kind == MediaKind::Audio {
            Silence::Unexplained
        } else if self.selector.target().is_none() {
            Silence::NoLayer
        } else if self.wanted_key_frame().is_some() {
            Silence::WaitingForKeyFrame
        } else {
            Silence::Unexplained
        }
    }
}
