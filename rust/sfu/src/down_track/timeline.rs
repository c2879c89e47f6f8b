//! From the publisher's RTP timestamps to the subscriber's.
//!
//! Inside an era (see [`super::numbering`]) the outgoing timestamp is the incoming one minus an
//! offset. Where a new era begins, the offset is chosen so that the stream goes on in time: by the
//! sender reports of the layers, which relate their clocks exactly, or by the time that has passed.
//! The thresholds are LiveKit's (`forwarder.go`, `processSourceSwitch`).

use std::time::{Duration, Instant};

use rtp::seq::diff_u32;

use crate::clock::SenderReport;
use crate::packet::ticks;

/// A switch to a layer this far behind what was sent waits for a better key frame.
const SWITCH_BEHIND: Duration = Duration::from_millis(50);

/// After the source paused, its clock counts only if it is at most this far behind real time.
const RESUME_BEHIND: Duration = Duration::from_millis(200);

/// A mapping this far from real time is not believed.
const IMPLAUSIBLE: Duration = Duration::from_secs(2);

/// Why an era begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Another layer takes over while the stream runs. `force`: it may be late.
    Switch {
        /// Go back to the last timestamp sent rather than wait.
        force: bool,
    },
    /// The stream goes on after nothing was sent. `source_paused`: because the source sent nothing.
    Resume {
        /// The source's clock may have stood still.
        source_paused: bool,
    },
}

/// The layer is too far behind to switch to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFarBehind;

/// The first packet of an era.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EraStart {
    pub(crate) layer: u8,
    pub(crate) timestamp: u32,
    pub(crate) arrival: Instant,
    pub(crate) cause: Cause,
}

#[derive(Clone, Copy, Debug)]
struct LastSent {
    timestamp: u32,
    arrival: Instant,
}

/// The timestamps of one down track.
#[derive(Debug)]
pub(crate) struct Timeline {
    clock_rate: u32,
    offset: u32,
    last: Option<LastSent>,
    /// The layer and offset that other layers are aligned with.
    reference: Option<(u8, u32)>,
}

impl Timeline {
    pub(crate) fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            offset: 0,
            last: None,
            reference: None,
        }
    }

    /// Begins an era. `report` gives the last sender report of a layer.
    pub(crate) fn begin_era(
        &mut self,
        start: &EraStart,
        report: impl Fn(u8) -> Option<SenderReport>,
    ) -> Result<(), TooFarBehind> {
        let Some(last) = self.last else {
            self.offset = 0;
            self.reference = Some((start.layer, 0));
            return Ok(());
        };
        let passed = start.arrival.saturating_duration_since(last.arrival);
        let expected = last.timestamp.wrapping_add(ticks(passed, self.clock_rate));
        let aligned = self.aligned(start, report);
        // Positive: real time is ahead of the mapping.
        let behind = aligned.map(|aligned| diff_u32(expected, aligned));
        let limit = match start.cause {
            Cause::Resume {
                source_paused: true,
            } => RESUME_BEHIND,
            _ => IMPLAUSIBLE,
        };
        let believed = behind
            .is_some_and(|behind| behind <= self.span(limit) && behind >= -self.span(IMPLAUSIBLE));
        let next = match aligned.filter(|_| believed) {
            Some(aligned) => aligned,
            None => {
                self.reference = Some((start.layer, start.timestamp.wrapping_sub(expected)));
                expected
            }
        };
        let ahead = diff_u32(next, last.timestamp);
        if ahead < -self.span(SWITCH_BEHIND) && start.cause == (Cause::Switch { force: false }) {
            return Err(TooFarBehind);
        }
        let next = if ahead > 0 {
            next
        } else {
            last.timestamp.wrapping_add(1)
        };
        self.offset = start.timestamp.wrapping_sub(next);
        Ok(())
    }

    /// The outgoing timestamp.
    #[inline]
    pub(crate) fn munge(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_sub(self.offset)
    }

    /// A packet in order was sent with the outgoing `timestamp`.
    #[inline]
    pub(crate) fn sent(&mut self, timestamp: u32, arrival: Instant) {
        let newer = self
            .last
            .is_none_or(|last| diff_u32(timestamp, last.timestamp) > 0);
        if newer {
            self.last = Some(LastSent { timestamp, arrival });
        }
    }

    /// The newest timestamp sent.
    pub(crate) fn last_timestamp(&self) -> u32 {
        self.last.map_or(0, |last| last.timestamp)
    }

    /// The clock of `layer` has nothing to do with what it was. `sent` is the layer being sent, if any:
    /// the others are aligned with it from now on.
    pub(crate) fn forget_layer(&mut self, layer: u8, sent: Option<u8>) {
        if self
            .reference
            .is_some_and(|(reference, _)| reference == layer)
        {
            self.reference = sent.map(|sent| (sent, self.offset));
        }
    }

    /// The source was replaced: its layers' clocks have nothing to do with the earlier ones.
    pub(crate) fn forget_source(&mut self) {
        self.reference = None;
    }

    /// The outgoing timestamp of the era's first packet by the reference layer's clock.
    fn aligned(
        &self,
        start: &EraStart,
        report: impl Fn(u8) -> Option<SenderReport>,
    ) -> Option<u32> {
        let (layer, offset) = self.reference?;
        let timestamp = if layer == start.layer {
            start.timestamp
        } else {
            let (own, reference) = (report(start.layer)?, report(layer)?);
            own.map_to(&reference, start.timestamp, self.clock_rate)
        };
        Some(timestamp.wrapping_sub(offset))
    }

    fn span(&self, duration: Duration) -> i32 {
        ticks(duration, self.clock_rate) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SWITCH: Cause = Cause::Switch { force: false };

    /// A stream on layer 0 that has sent timestamp 1,000,000 at `now`.
    fn running(now: Instant) -> Timeline {
        let mut timeline = Timeline::new(90_000);
        let start = start(0, 1_000_000, now, SWITCH);
        timeline.begin_era(&start, |_| None).unwrap();
        timeline.sent(timeline.munge(1_000_000), now);
        timeline
    }

    fn start(layer: u8, timestamp: u32, arrival: Instant, cause: Cause) -> EraStart {
        EraStart {
            layer,
            timestamp,
            arrival,
            cause,
        }
    }

    /// Layer 1's clock is 5,000,000 ahead of layer 0's.
    fn reports(now: Instant) -> impl Fn(u8) -> Option<SenderReport> + Copy {
        move |layer| {
            Some(SenderReport {
                ntp: 77 << 32,
                rtp_timestamp: 900_000 + u32::from(layer) * 5_000_000,
                arrival: now,
            })
        }
    }

    #[test]
    fn the_first_era_keeps_the_timestamps() {
        assert_eq!(running(Instant::now()).munge(1_003_000), 1_003_000);
    }

    #[test]
    fn a_switch_is_aligned_by_sender_reports() {
        let now = Instant::now();
        let mut timeline = running(now);
        let next = start(1, 6_003_000, now + 50 * MS, SWITCH);
        assert_eq!(timeline.begin_era(&next, reports(now)), Ok(()));
        assert_eq!(timeline.munge(6_003_000), 1_003_000);
    }

    #[test]
    fn a_switch_without_reports_goes_by_arrival() {
        let now = Instant::now();
        let mut timeline = running(now);
        let next = start(1, 42, now + 40 * MS, SWITCH);
        assert_eq!(timeline.begin_era(&next, |_| None), Ok(()));
        assert_eq!(timeline.munge(42), 1_000_000 + 3600);
    }

    #[test]
    fn a_switch_to_a_layer_behind() {
        let now = Instant::now();
        for (behind, cause, expected) in [
            (0, SWITCH, Ok(1_000_001)),
            (4500, SWITCH, Ok(1_000_001)),
            (4501, SWITCH, Err(TooFarBehind)),
            (4501, Cause::Switch { force: true }, Ok(1_000_001)),
        ] {
            let mut timeline = running(now);
            let timestamp = 6_000_000 - behind;
            let next = start(1, timestamp, now, cause);
            let result = timeline.begin_era(&next, reports(now));
            assert_eq!(
                result.map(|()| timeline.munge(timestamp)),
                expected,
                "{behind}"
            );
        }
    }

    #[test]
    fn resuming() {
        let now = Instant::now();
        let ten_seconds = 900_000;
        for (source_paused, clock_moved, expected) in [
            // The source's clock went on: it is believed, even when it lags a little.
            (false, ten_seconds, ten_seconds),
            (false, ten_seconds - 90_000, ten_seconds - 90_000),
            (true, ten_seconds - 9_000, ten_seconds - 9_000),
            // It stood still: real time counts.
            (true, ten_seconds - 27_000, ten_seconds),
            (false, 3000, ten_seconds),
            (true, 3000, ten_seconds),
        ] {
            let mut timeline = running(now);
            let timestamp = 1_000_000 + clock_moved;
            let cause = Cause::Resume { source_paused };
            let next = start(0, timestamp, now + Duration::from_secs(10), cause);
            assert_eq!(timeline.begin_era(&next, |_| None), Ok(()));
            assert_eq!(timeline.munge(timestamp), 1_000_000 + expected);
        }
    }

    #[test]
    fn a_report_that_cannot_be_is_not_believed() {
        let now = Instant::now();
        let mut timeline = running(now);
        let next = start(1, 6_500_000, now + 10 * MS, SWITCH);
        assert_eq!(timeline.begin_era(&next, reports(now)), Ok(()));
        assert_eq!(timeline.munge(6_500_000), 1_000_900);
    }
}
