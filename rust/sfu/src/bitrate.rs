//! Bits per second over the last second, or over longer.

use std::time::{Duration, Instant};

use crate::allocator::MAX_TEMPORAL_LAYERS;

const BUCKETS: usize = 10;

/// A screen share sends few frames, so it is looked at for longer (LiveKit `streamtracker`).
const CAMERA_WINDOW: Duration = Duration::from_secs(1);
const SCREEN_WINDOW: Duration = Duration::from_secs(4);

/// A sliding window in tenths.
#[derive(Clone, Debug)]
pub(crate) struct BitrateMeter {
    bytes: [u32; BUCKETS],
    newest: usize,
    /// When the newest tenth is over.
    end: Instant,
    tenth: Duration,
}

impl BitrateMeter {
    /// A window of one second.
    pub(crate) fn new(now: Instant) -> Self {
        Self::over(now, Duration::from_secs(1))
    }

    pub(crate) fn over(now: Instant, window: Duration) -> Self {
        let tenth = window / BUCKETS as u32;
        Self {
            bytes: [0; BUCKETS],
            newest: 0,
            end: now + tenth,
            tenth,
        }
    }

    #[inline]
    fn advance(&mut self, now: Instant) {
        if now >= self.end {
            self.begin_tenth(now);
        }
    }

    #[cold]
    fn begin_tenth(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.end);
        let skipped = (late.as_millis() / self.tenth.as_millis()) as u32;
        self.end += self.tenth * (skipped + 1);
        for _ in 0..=skipped.min(BUCKETS as u32) {
            self.newest = (self.newest + 1) % BUCKETS;
            self.bytes[self.newest] = 0;
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, now: Instant, bytes: usize) {
        self.advance(now);
        let bucket = &mut self.bytes[self.newest];
        *bucket = bucket.saturating_add(bytes as u32);
    }

    /// Bits per second; the youngest tenth is not over yet and counts as it is.
    pub(crate) fn bps(&mut self, now: Instant) -> f64 {
        self.advance(now);
        let bytes: u64 = self.bytes.iter().map(|&bytes| u64::from(bytes)).sum();
        bytes as f64 * 8.0 / (BUCKETS as f64 * self.tenth.as_secs_f64())
    }
}

/// The same by temporal layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerBitrateMeter([BitrateMeter; MAX_TEMPORAL_LAYERS]);

impl LayerBitrateMeter {
    pub(crate) fn new(now: Instant, screen_share: bool) -> Self {
        let window = if screen_share {
            SCREEN_WINDOW
        } else {
            CAMERA_WINDOW
        };
        Self(std::array::from_fn(|_| BitrateMeter::over(now, window)))
    }

    /// Layers above those that are known belong to the highest.
    #[inline]
    pub(crate) fn add(&mut self, now: Instant, temporal: u8, bytes: usize) {
        let temporal = usize::from(temporal).min(MAX_TEMPORAL_LAYERS - 1);
        self.0[temporal].add(now, bytes);
    }

    /// Bits per second of each temporal layer by itself.
    pub(crate) fn by_layer(&mut self, now: Instant) -> [u64; MAX_TEMPORAL_LAYERS] {
        self.0.each_mut().map(|meter| meter.bps(now) as u64)
    }

    /// Bits per second of all of them.
    pub(crate) fn bps(&mut self, now: Instant) -> f64 {
        self.0.iter_mut().map(|meter| meter.bps(now)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_window_bridges_gaps() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut meter = BitrateMeter::over(start, Duration::from_secs(4));
        for second in 0..4 {
            meter.add(at(second * 1000), 1000);
        }
        assert_eq!(meter.bps(at(3900)), 8000.0);
        assert_eq!(meter.bps(at(7900)), 0.0);
    }

    #[test]
    fn measures_a_steady_stream_and_forgets_it() {
        let start = Instant::now();
        let mut meter = BitrateMeter::new(start);
        for ms in 0..3000 {
            meter.add(start + Duration::from_millis(ms), 125);
        }
        let now = start + Duration::from_millis(2999);
        assert_eq!(meter.bps(now), 1_000_000.0);
        assert_eq!(meter.bps(now + Duration::from_millis(500)), 500_000.0);
        assert_eq!(meter.bps(now + Duration::from_secs(2)), 0.0);
    }
}
