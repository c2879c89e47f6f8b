//! What a microphone said in one observation window (RFC 6464 levels).

use rtp::seq::ExtSeq;

/// Packet time of Opus in practice, in milliseconds: what the first packet of a talk spurt counts.
const DEFAULT_PACKET_MS: u32 = 20;

/// Longest time that one packet can hold (Opus, RFC 7587 4.2), in milliseconds. A longer step of
/// the timestamp is silence that was not sent.
const MAX_PACKET_MS: u32 = 120;

/// One observation window of one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioWindow {
    /// Loudest level in -dBov: 0 is loudest, 127 silence.
    pub level: u8,
    /// Milliseconds of packets at or above the active level.
    pub active_ms: u32,
}

/// Collects the levels of one receiver.
#[derive(Debug)]
pub(crate) struct AudioLevelMeter {
    active_level: u8,
    clock_rate: u32,
    window: Option<AudioWindow>,
    /// The number and timestamp of the newest packet.
    newest: Option<(ExtSeq, u32)>,
}

impl AudioLevelMeter {
    /// `active_level` in -dBov, `clock_rate` in Hz.
    pub(crate) fn new(active_level: u8, clock_rate: u32) -> Self {
        Self {
            active_level,
            clock_rate: clock_rate.max(1),
            window: None,
            newest: None,
        }
    }

    /// A packet with `level`, the unwrapped number `ext_seq` and an RTP `timestamp` arrived; packets out
    /// of order are left out. The number decides what is late, as the timestamp may go anywhere when
    /// the publisher begins anew.
    pub(crate) fn observe(&mut self, level: u8, ext_seq: ExtSeq, timestamp: u32) {
        let step = match self.newest {
            None => 0,
            Some((newest, before)) if ext_seq > newest => timestamp.wrapping_sub(before),
            Some(_) => return,
        };
        self.newest = Some((ext_seq, timestamp));
        let step_ms = (u64::from(step) * 1000 / u64::from(self.clock_rate)) as u32;
        let packet_ms = match step_ms {
            1..=MAX_PACKET_MS => step_ms,
            _ => DEFAULT_PACKET_MS,
        };
        let window = self.window.get_or_insert(AudioWindow {
            level: 127,
            active_ms: 0,
        });
        window.level = window.level.min(level);
        if level <= self.active_level {
            window.active_ms += packet_ms;
        }
    }

    /// Ends the window. `None`: no packet arrived in it.
    pub(crate) fn take(&mut self) -> Option<AudioWindow> {
        self.window.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loudest_level_and_active_time() {
        let mut meter = AudioLevelMeter::new(35, 48_000);
        for (packet, level) in [50, 35, 20, 36, 127].into_iter().enumerate() {
            let number = 70_000 + packet as u64;
            meter.observe(level, number, (packet as u32 * 960).wrapping_sub(960));
        }
        let expected = AudioWindow {
            level: 20,
            active_ms: 40,
        };
        assert_eq!(meter.take(), Some(expected));
        assert_eq!(meter.take(), None);
    }

    #[test]
    fn silence_that_was_not_sent_is_not_speech() {
        let mut meter = AudioLevelMeter::new(35, 48_000);
        meter.observe(30, 70_000, 0);
        meter.observe(30, 70_001, 48_000);
        assert_eq!(meter.take().map(|window| window.active_ms), Some(40));
    }

    #[test]
    fn late_and_repeated_packets_do_not_count() {
        let mut meter = AudioLevelMeter::new(35, 48_000);
        meter.observe(30, 70_001, 960);
        meter.observe(1, 70_001, 960);
        meter.observe(1, 70_000, 0);
        let expected = AudioWindow {
            level: 30,
            active_ms: 20,
        };
        assert_eq!(meter.take(), Some(expected));
    }

    #[test]
    fn timestamps_may_go_anywhere() {
        let mut meter = AudioLevelMeter::new(35, 48_000);
        let timestamps = [
            3_000_000_000,
            1_000_000_000,
            1_000_000_960,
            u32::MAX,
            959,
            958,
        ];
        for (number, timestamp) in (70_000..).zip(timestamps) {
            meter.observe(30, number, timestamp);
            assert!(meter.take().is_some_and(|window| window.active_ms == 20));
        }
    }
}
