//! Datagrams in a stream (RFC 4571): each preceded by its length in two bytes.

/// Longest frame taken. No packet of WebRTC is longer than a path's MTU.
const MAX_FRAME: usize = 2048;

/// A frame that is too long, so that the stream makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameTooLong;

/// Puts frames together; holds at most one that is incomplete.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    pending: Vec<u8>,
}

impl Deframer {
    /// Adds what was read and gives every complete frame to `take`. Empty frames are left out.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&mut [u8]),
    ) -> Result<(), FrameTooLong> {
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        let mut result = Ok(());
        while let [high, low, rest @ ..] = &mut self.pending[at..] {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            if len > MAX_FRAME {
                result = Err(FrameTooLong);
                break;
            }
            let Some(frame) = rest.get_mut(..len) else {
                break;
            };
            if !frame.is_empty() {
                take(frame);
            }
            at += 2 + len;
        }
        self.pending.drain(..at);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(deframer: &mut Deframer, bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let mut frames = Vec::new();
        let result = deframer.push(bytes, |frame| frames.push(frame.to_vec()));
        (frames, result.is_ok())
    }

    #[test]
    fn a_frame_that_is_too_long_ends_it() {
        let mut deframer = Deframer::default();
        let (found, valid) = frames(&mut deframer, &[0, 1, 7, 8, 1, 0]);
        assert_eq!((found, valid), (vec![vec![7]], false));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in 1usize..50,
        ) {
            let mut stream = Vec::new();
            for frame in &sent {
                stream.extend((frame.len() as u16).to_be_bytes());
                stream.extend(frame);
            }
            let mut deframer = Deframer::default();
            let mut received = Vec::new();
            for piece in stream.chunks(cut) {
                let (found, valid) = frames(&mut deframer, piece);
                prop_assert!(valid);
                received.extend(found);
            }
            let sent: Vec<_> = sent.into_iter().filter(|frame| !frame.is_empty()).collect();
            prop_assert_eq!(received, sent);
            prop_assert!(deframer.pending.is_empty());
        }
    }
}
