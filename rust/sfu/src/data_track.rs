//! Data tracks: packets that a publisher sends on its `_data_track` channel and subscribers get on
//! theirs, under a handle of their own.

mod backlog;
mod counters;
mod header;

pub use backlog::Backlog;
pub use counters::{DataTrackCounters, DataTrackStats};
pub use header::DataTrackHeader;
