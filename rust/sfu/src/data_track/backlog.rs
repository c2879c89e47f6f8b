//! How fast a data channel drains, and how far a lossy one may fall behind before messages are
//! dropped for freshness.

use std::time::{Duration, Instant};

/// Bytes that may always wait: fewer say nothing about a delay (livekit-server
/// `pkg/rtc/transport.go`, `lossyDataChannelMinBufferedAmount`).
const ALWAYS: usize = 8 * 1024;

/// The rate is that of the last one to two of these.
const PERIOD: Duration = Duration::from_millis(500);

/// A rate is believed when it was measured for this long.
const MEASURED: Duration = Duration::from_millis(100);

/// What left a channel in a period while more was waiting.
#[derive(Clone, Copy, Debug, Default)]
struct Drained {
    bytes: usize,
    time: Duration,
}

/// The backlog of one channel, in bytes and in time: the rate at which it drains says how long what
/// waits will take. The rate is measured only between messages that both found others waiting; of a
/// channel that was empty in between nobody knows how fast it could have been.
#[derive(Debug)]
pub struct Backlog {
    target: Duration,
    /// When the last message came, and the bytes that waited after it.
    last: Option<(Instant, usize)>,
    began: Option<Instant>,
    current: Drained,
    previous: Drained,
}

impl Backlog {
    /// A channel on which nothing should wait longer than `target`; zero: for any time.
    pub fn new(target: Duration) -> Self {
        Self {
            target,
            last: None,
            began: None,
            current: Drained::default(),
            previous: Drained::default(),
        }
    }

    /// Whether another message may follow the `buffered` bytes that wait.
    pub fn accepts(&mut self, now: Instant, buffered: usize) -> bool {
        if self.target.is_zero() {
            return true;
        }
        let rate = self.rate(now, buffered);
        let limit = rate.map(|rate| rate * self.target.as_secs_f64());
        buffered <= ALWAYS || limit.is_none_or(|limit| buffered as f64 <= limit)
    }

    /// Bytes per second that leave the channel, in which `buffered` bytes wait; `None` before it
    /// has had enough to do to tell.
    pub fn rate(&mut self, now: Instant, buffered: usize) -> Option<f64> {
        self.measure(now, buffered);
        self.last = Some((now, buffered));
        let time = self.previous.time + self.current.time;
        let bytes = (self.previous.bytes + self.current.bytes) as f64;
        (time >= MEASURED).then(|| bytes / time.as_secs_f64())
    }

    /// A message of `len` bytes was added.
    pub fn sent(&mut self, len: usize) {
        if let Some((_, buffered)) = &mut self.last {
            *buffered += len;
        }
    }

    fn measure(&mut self, now: Instant, buffered: usize) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= PERIOD {
            let is_recent = age < 2 * PERIOD;
            self.previous = std::mem::take(&mut self.current);
            if !is_recent {
                self.previous = Drained::default();
            }
            self.began = Some(now);
        }
        if let Some((at, before)) = self.last
            && buffered > 0
        {
            self.current.bytes += before.saturating_sub(buffered);
            self.current.time += now.saturating_duration_since(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Offers a message of `len` every millisecond to a channel that drains `rate` bytes in one;
    /// returns how many were taken and the most that waited.
    fn offer(backlog: &mut Backlog, start: Instant, len: usize, rate: usize) -> (usize, usize) {
        let (mut buffered, mut taken, mut most) = (0usize, 0, 0);
        for at in 0..2000 {
            buffered = buffered.saturating_sub(rate);
            if backlog.accepts(start + at * MS, buffered) {
                backlog.sent(len);
                buffered += len;
                taken += 1;
            }
            if at >= 1000 {
                most = most.max(buffered);
            }
        }
        (taken, most)
    }

    #[test]
    fn a_channel_that_keeps_up_loses_nothing() {
        let mut backlog = Backlog::new(100 * MS);
        let (taken, most) = offer(&mut backlog, Instant::now(), 1000, 1000);
        assert_eq!((taken, most), (2000, 1000));
    }

    #[test]
    fn a_slow_channel_holds_what_it_sends_in_the_target_time() {
        let mut backlog = Backlog::new(100 * MS);
        let (taken, most) = offer(&mut backlog, Instant::now(), 1000, 250);
        // 250 bytes per millisecond: 25 kB in the target time, and a quarter of the messages.
        assert!((20_000..30_000).contains(&most), "{most}");
        assert!((480..620).contains(&taken), "{taken}");
    }

    #[test]
    fn a_dead_channel_holds_the_least() {
        let mut backlog = Backlog::new(100 * MS);
        let start = Instant::now();
        offer(&mut backlog, start, 100, 0);
        assert!(!backlog.accepts(start + 2001 * MS, ALWAYS + 1));
        assert!(backlog.accepts(start + 2002 * MS, ALWAYS));
    }

    #[test]
    fn a_rate_is_forgotten_after_a_pause() {
        let mut backlog = Backlog::new(100 * MS);
        let start = Instant::now();
        offer(&mut backlog, start, 1000, 250);
        assert!(!backlog.accepts(start + 2001 * MS, 60_000));
        assert!(backlog.accepts(start + 9000 * MS, 0));
        assert!(backlog.accepts(start + 9001 * MS, 60_000));
    }

    #[test]
    fn a_rate_is_what_left_while_others_waited() {
        let (mut backlog, start) = (Backlog::new(Duration::ZERO), Instant::now());
        assert_eq!(backlog.rate(start, 0), None);
        backlog.sent(10_000);
        assert_eq!(backlog.rate(start + 50 * MS, 8000), None);
        assert_eq!(backlog.rate(start + 100 * MS, 6000), Some(40_000.0));
        assert_eq!(backlog.rate(start + 200 * MS, 6000), Some(20_000.0));
        // Empty meanwhile, for who knows how long.
        assert_eq!(backlog.rate(start + 300 * MS, 0), Some(20_000.0));
    }

    #[test]
    fn without_a_target_everything_is_accepted() {
        let mut backlog = Backlog::new(Duration::ZERO);
        let (taken, _) = offer(&mut backlog, Instant::now(), 1000, 1);
        assert_eq!(taken, 2000);
    }
}
