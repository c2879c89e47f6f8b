//! What is answered for a worker that has ended: nobody waits for it in vain.

use crate::api::{Code, Command, Event, StatsCollected, WorkerStats};

/// The answer to a command for `worker`, which has ended; None: what is wanted is so already.
pub(crate) fn answer(worker: usize, command: &Command) -> Option<Event> {
    match command {
        Command::CollectStats { request } => Some(statistics(worker, *request)),
        Command::CloseTransport { .. }
        | Command::CloseReceiver { .. }
        | Command::CloseDownTrack { .. }
        | Command::CloseDataTrack { .. }
        | Command::CloseDataDownTrack { .. }
        | Command::SendData(_) => None,
        _ => Some(Event::CommandFailed {
            command: command.name(),
            subject: command.subject(),
            code: Code::Unavailable,
            message: format!("worker {worker} has ended"),
        }),
    }
}

/// Statistics of `worker`, which has ended: there is nothing on it.
pub(crate) fn statistics(worker: usize, request: u64) -> Event {
    Event::StatsCollected(Box::new(StatsCollected {
        request,
        worker: WorkerStats {
            worker,
            ..WorkerStats::default()
        },
        ..StatsCollected::default()
    }))
}
