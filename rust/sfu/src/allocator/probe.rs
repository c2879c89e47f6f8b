//! Sending more than the media for a while, to see whether the connection carries it.

use std::time::{Duration, Instant};

/// Time between two portions.
const STEP: Duration = Duration::from_millis(10);

/// A portion is at least so many bytes: a few packets of nothing but padding.
const PORTION: u64 = 1_100;

/// A probe that cannot send what it should ends after so many times its duration.
const PATIENCE: u32 = 2;

/// One probe that is being sent.
#[derive(Debug)]
pub(super) struct Probe {
    began: Instant,
    next: Instant,
    duration: Duration,
    /// Bits per second to reach, and of them those that are media.
    goal: u64,
    media: u64,
    padding: u64,
    /// Bytes sent before it began.
    sent_before: u64,
}

impl Probe {
    pub(super) fn new(
        now: Instant,
        duration: Duration,
        goal: u64,
        media: u64,
        sent_before: u64,
    ) -> Self {
        Self {
            began: now,
            next: now,
            duration,
            goal,
            media,
            padding: 0,
            sent_before,
        }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether all has been sent that should be, or cannot. `sent` are all bytes, media included.
    pub(super) fn is_done(&self, now: Instant, sent: u64) -> bool {
        let lasted = now.saturating_duration_since(self.began);
        let bytes = sent.saturating_sub(self.sent_before);
        lasted >= self.duration * PATIENCE
            || lasted >= self.duration && bytes >= bytes_in(self.goal, self.duration)
    }

    /// Bytes of padding to send now.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        if now < self.next {
            return 0;
        }
        self.next = now + STEP;
        let lasted = now.saturating_duration_since(self.began) + STEP;
        let by_now = bytes_in(self.goal.saturating_sub(self.media), lasted);
        match by_now.saturating_sub(self.padding) {
            0 => 0,
            behind => behind.max(PORTION),
        }
    }

    pub(super) fn padding_sent(&mut self, bytes: u64) {
        self.padding += bytes;
    }
}

fn bytes_in(bps: u64, time: Duration) -> u64 {
    (bps as f64 / 8.0 * time.as_secs_f64()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_makes_up_what_media_lacks_evenly_over_the_time() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut probe = Probe::new(start, ms(200), 2_000_000, 1_200_000, 70_000);
        let mut portions = Vec::new();
        let (mut now, mut sent) = (start, 70_000);
        while !probe.is_done(now, sent) {
            let due = probe.due(now);
            probe.padding_sent(due);
            portions.push(due);
            sent += due + 1500;
            now = probe.next();
        }
        let sent: u64 = portions.iter().sum();
        assert_eq!(now, start + ms(200));
        assert!((20_000..22_000).contains(&sent), "{portions:?}");
        assert!(portions.iter().all(|&due| due <= 2 * PORTION));
    }

    #[test]
    fn a_probe_without_anything_to_send_ends() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let probe = Probe::new(start, ms(200), 2_000_000, 0, 0);
        assert!(!probe.is_done(start + ms(399), 0));
        assert!(probe.is_done(start + ms(400), 0));
    }
}
