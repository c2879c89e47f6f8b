//! Reliable messages for a reader that is slow wait with their sender, as long as the reader is not
//! too slow: then it loses them, and nobody waits (livekit-server
//! `pkg/sfu/datachannel/datachannel_writer.go`, `writeReliable`).
//!
//! The sender's client notices by its SCTP window, which closes while we do not read.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use super::Core;
use super::connection::DataChannel;
use super::timers::{Armed, Task};
use crate::api::{EngineConfig, Id};

/// How often it is looked whether waiting helps.
const LOOK: Duration = Duration::from_millis(50);

/// A reader is slow when this part of its channel's buffer is full. The rest is for messages that
/// are on their way when their senders begin to wait.
const SLOW_PART: usize = 4;

/// A transport and one of its channels.
type Reader = (Id, u16);

/// How a reader of a reliable channel keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// There is room.
    Free,
    /// Its senders should wait.
    Slow,
    /// Waiting for it would hold up everybody else.
    TooSlow,
}

/// Who waits for whom: one entry for each pair of sender and reader.
#[derive(Debug, Default)]
pub(super) struct SlowReaders {
    waits: FxHashSet<(Id, Reader)>,
    timer: Armed,
}

impl SlowReaders {
    /// How the reader of a reliable channel in which `buffered` bytes wait keeps up.
    pub(super) fn pace(
        &self,
        config: &EngineConfig,
        now: Instant,
        channel: &mut DataChannel,
        buffered: usize,
    ) -> Pace {
        if config.data_slow_threshold == 0 {
            return Pace::Free;
        }
        let rate = channel.backlog.rate(now, buffered);
        if buffered <= config.data_channel_buffer / SLOW_PART {
            Pace::Free
        } else if rate.is_none_or(|rate| rate * 8.0 >= config.data_slow_threshold as f64) {
            Pace::Slow
        } else {
            Pace::TooSlow
        }
    }
}

impl Core {
    /// No more reliable messages are taken from `source` until the reader has caught up.
    pub(super) fn wait_for_reader(&mut self, now: Instant, source: Id, reader: Reader) {
        if source == 0 || !self.slow_readers.waits.insert((source, reader)) {
            return;
        }
        let next = Some(now + LOOK);
        let timer = &mut self.slow_readers.timer;
        self.timers.arm(Task::SlowReaders, timer, next);
        self.pause_reliable_data(now, source, true);
    }

    /// Lets go on whoever needs not wait any more.
    pub(super) fn run_slow_readers(&mut self, now: Instant, at: Instant) {
        if !self.slow_readers.timer.fire(at) {
            return;
        }
        let mut waits = std::mem::take(&mut self.slow_readers.waits);
        let mut free = FxHashSet::default();
        waits.retain(|&(source, reader)| {
            let pace = self.guard(now, reader.0, |core| core.reader_pace(now, reader));
            let is_slow = pace.flatten() == Some(Pace::Slow);
            if !is_slow {
                free.insert(source);
            }
            is_slow
        });
        for (source, _) in &waits {
            free.remove(source);
        }
        if !waits.is_empty() {
            let timer = &mut self.slow_readers.timer;
            self.timers.arm(Task::SlowReaders, timer, Some(now + LOOK));
        }
        self.slow_readers.waits = waits;
        for source in free {
            self.pause_reliable_data(now, source, false);
        }
    }

    /// None: the channel is closed.
    fn reader_pace(&mut self, now: Instant, (id, stream_id): Reader) -> Option<Pace> {
        #[cfg(test)]
        self.maybe_panic(super::guard::Point::Reader(id));
        let index = self.connections.find(id)?;
        let connection = self.connections.get_mut(index)?;
        let channel = connection.channels.get_mut(&stream_id)?;
        let buffered = connection.transport.buffered(stream_id)?;
        Some(self.slow_readers.pace(&self.config, now, channel, buffered))
    }

    fn pause_reliable_data(&mut self, now: Instant, source: Id, paused: bool) {
        // A sender that is gone waits for nobody.
        let _ = self.with_transport(now, source, |transport| {
            transport.pause_reliable_data(now, paused);
            Ok(())
        });
    }
}
