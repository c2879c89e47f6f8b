//! How long a subscriber is asked to hold video back (LiveKit `playoutdelay.go`).
//!
//! The delay begins at its lower limit and follows the jitter that the subscriber reports. Packets
//! carry a value until a report shows that one of them arrived: the subscriber keeps what it was
//! told last.

use std::time::{Duration, Instant};

use rtp::extension::PlayoutDelay;

use super::Stream;
use crate::down_track::numbering::Numbering;
use crate::params::{DownTrackConfig, MediaKind, PlayoutDelayLimits};
use crate::receiver::Receiver;

/// The delay is so many times the jitter.
const TIMES_JITTER: u32 = 10;

/// NACKs in percent of the packets sent; each one above adds [`MS_PER_NACK_PERCENT`].
const HIGH_NACK_PERCENT: u32 = 60;
const MS_PER_NACK_PERCENT: u32 = 2;

/// The delay changes so fast at most, so that video stays in step with audio.
const MAX_CHANGE_MS_PER_S: f64 = 80.0;

/// What a subscriber's report and our own counters say.
#[derive(Clone, Copy, Debug)]
struct Reported {
    /// The highest outgoing sequence number that arrived.
    highest: u16,
    /// Interarrival jitter.
    jitter: Duration,
    /// Packets sent and sequence numbers asked for, in all.
    packets: u64,
    nacks: u64,
    /// The sequence number of the next packet.
    next: u16,
}

/// The playout delay of one down track.
#[derive(Debug)]
pub(crate) struct PlayoutDelayController {
    limits: PlayoutDelayLimits,
    current_ms: u32,
    /// The reported jitter means something: a screen share sends too rarely for that.
    follows_jitter: bool,
    /// The first packet that could carry the current value, and since when they do.
    from: u16,
    since: Instant,
    acknowledged: bool,
    /// At the report before.
    packets: u64,
    nacks: u64,
}

impl Stream {
    /// The subscriber reported that packets up to the sequence number `highest` arrived, with this
    /// `jitter`.
    pub(crate) fn handle_report(
        &mut self,
        now: Instant,
        config: &DownTrackConfig,
        highest: u16,
        jitter: Duration,
    ) {
        let Some(controller) = &mut self.playout_delay else {
            return;
        };
        let reported = Reported {
            highest,
            jitter,
            packets: self.packets,
            nacks: self.nacks,
            next: self.numbering.next_out() as u16,
        };
        if controller.handle_report(now, &reported) {
            self.output.set_playout_delay(config, controller.value());
        }
    }
}

impl PlayoutDelayController {
    /// The one that `config` asks for.
    pub(super) fn of(
        now: Instant,
        config: &DownTrackConfig,
        source: &Receiver,
        numbering: &Numbering,
    ) -> Option<Self> {
        let limits = config.playout_delay;
        let limits = limits.filter(|_| source.kind() == MediaKind::Video)?;
        let next = numbering.next_out() as u16;
        Some(Self::new(now, limits, !source.is_screen_share(), next))
    }

    /// Packets from `next` on carry the lower limit.
    fn new(now: Instant, limits: PlayoutDelayLimits, follows_jitter: bool, next: u16) -> Self {
        Self {
            limits,
            current_ms: u32::from(limits.min_ms.min(limits.max_ms)),
            follows_jitter,
            from: next,
            since: now,
            acknowledged: false,
            packets: 0,
            nacks: 0,
        }
    }

    /// What packets carry now.
    pub(in crate::down_track) fn value(&self) -> Option<PlayoutDelay> {
        (!self.acknowledged).then_some(PlayoutDelay {
            min: (self.current_ms / 10) as u16,
            max: self.limits.max_ms / 10,
        })
    }

    /// Takes a report of the subscriber. Returns whether [`Self::value`] changed.
    fn handle_report(&mut self, now: Instant, reported: &Reported) -> bool {
        let before = self.value();
        self.acknowledged |= reported.highest.wrapping_sub(self.from) < 0x8000;
        if self.follows_jitter {
            self.follow(now, reported);
        }
        self.value() != before
    }

    fn follow(&mut self, now: Instant, reported: &Reported) {
        let packets = reported.packets.saturating_sub(self.packets);
        let nacks = reported.nacks.saturating_sub(self.nacks);
        (self.packets, self.nacks) = (reported.packets, reported.nacks);
        let nack_percent = (nacks * 100).checked_div(packets).unwrap_or(0);
        let nack_percent = u32::try_from(nack_percent).unwrap_or(u32::MAX);
        let jitter_ms = u32::try_from(reported.jitter.as_millis()).unwrap_or(u32::MAX);
        let above = nack_percent.saturating_sub(HIGH_NACK_PERCENT);
        let target = jitter_ms
            .saturating_mul(TIMES_JITTER)
            .saturating_add(above.saturating_mul(MS_PER_NACK_PERCENT));

        let elapsed = now.saturating_duration_since(self.since);
        let change = (MAX_CHANGE_MS_PER_S * elapsed.as_secs_f64().min(1.0)) as u32;
        let lowest = self.current_ms.saturating_sub(change);
        let target = target
            .clamp(lowest, self.current_ms + change)
            .max(self.limits.min_ms.into())
            .min(self.limits.max_ms.into());
        if target != self.current_ms {
            self.current_ms = target;
            self.acknowledged = false;
            (self.from, self.since) = (reported.next, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PlayoutDelayLimits = PlayoutDelayLimits {
        min_ms: 100,
        max_ms: 1000,
    };

    /// A controller at number 65,530, and what a subscriber reports of it a second later.
    struct World {
        now: Instant,
        controller: PlayoutDelayController,
        reported: Reported,
    }

    impl World {
        fn new(limits: PlayoutDelayLimits, follows_jitter: bool) -> Self {
            let now = Instant::now();
            Self {
                now,
                controller: PlayoutDelayController::new(now, limits, follows_jitter, 65_530),
                reported: Reported {
                    highest: 65_529,
                    jitter: Duration::from_millis(10),
                    packets: 0,
                    nacks: 0,
                    next: 65_530,
                },
            }
        }

        fn report_after(&mut self, seconds: f64) -> bool {
            self.now += Duration::from_secs_f64(seconds);
            self.controller.handle_report(self.now, &self.reported)
        }

        fn min_ms(&self) -> u32 {
            self.controller.current_ms
        }
    }

    #[test]
    fn packets_carry_it_until_one_of_them_arrived() {
        let mut world = World::new(LIMITS, true);
        let expected = Some(PlayoutDelay { min: 10, max: 100 });
        assert_eq!(world.controller.value(), expected);
        assert!(!world.report_after(1.0));
        assert_eq!(world.controller.value(), expected);
        // Two packets on, over the wrap.
        world.reported.highest = 3;
        assert!(world.report_after(1.0));
        assert_eq!(world.controller.value(), None);
        assert!(!world.report_after(1.0));
    }

    #[test]
    fn another_value_is_carried_by_the_packets_after_the_report() {
        let mut world = World::new(LIMITS, true);
        world.reported.highest = 65_532;
        world.report_after(1.0);
        assert_eq!(world.controller.value(), None);
        world.reported.next = 65_535;
        world.reported.jitter = Duration::from_millis(15);
        assert!(world.report_after(1.0));
        let expected = Some(PlayoutDelay { min: 15, max: 100 });
        assert_eq!(world.controller.value(), expected);
        world.reported.highest = 65_534;
        assert!(!world.report_after(1.0));
        world.reported.highest = 65_535;
        assert!(world.report_after(1.0));
        assert_eq!(world.controller.value(), None);
    }

    #[test]
    fn it_changes_by_80_ms_a_second_within_the_limits() {
        let mut world = World::new(LIMITS, true);
        world.reported.jitter = Duration::from_millis(500);
        for (seconds, expected) in [(0.5, 140), (1.0, 220), (60.0, 300)] {
            world.report_after(seconds);
            assert_eq!(world.min_ms(), expected, "{seconds} s");
        }
        for _ in 0..20 {
            world.report_after(1.0);
        }
        assert_eq!(world.min_ms(), 1000);
        world.reported.jitter = Duration::ZERO;
        world.report_after(1.0);
        world.report_after(0.25);
        assert_eq!(world.min_ms(), 900);
        for _ in 0..20 {
            world.report_after(1.0);
        }
        assert_eq!(world.min_ms(), 100);
    }

    #[test]
    fn many_nacks_add_to_it() {
        let mut world = World::new(LIMITS, true);
        for (packets, nacks, expected) in [
            (100, 60, 100),
            // 61 and 75 percent of the packets since the report before.
            (200, 121, 102),
            (300, 196, 130),
            // Nothing was sent.
            (300, 200, 100),
        ] {
            (world.reported.packets, world.reported.nacks) = (packets, nacks);
            world.report_after(1.0);
            assert_eq!(world.min_ms(), expected, "{packets} packets");
        }
    }

    #[test]
    fn that_of_a_screen_share_stays() {
        let mut world = World::new(LIMITS, false);
        world.reported.jitter = Duration::from_millis(500);
        world.reported.highest = 65_530;
        assert!(world.report_after(1.0));
        assert_eq!((world.min_ms(), world.controller.value()), (100, None));
    }

    #[test]
    fn the_upper_limit_wins() {
        let limits = PlayoutDelayLimits {
            min_ms: 600,
            max_ms: 500,
        };
        let mut world = World::new(limits, true);
        let expected = Some(PlayoutDelay { min: 50, max: 50 });
        assert_eq!(world.controller.value(), expected);
        world.report_after(1.0);
        assert_eq!(world.controller.value(), expected);
    }
}
