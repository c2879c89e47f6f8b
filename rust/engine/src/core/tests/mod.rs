//! Whole calls in memory: the core on one side, peers made of the transport crate on the other.

mod allocation;
mod client;
mod collect;
mod connect;
mod data;
mod data_tracks;
mod drops;
mod hostile;
mod hostile_sctp;
mod loss;
mod media;
mod panics;
mod paths;
mod reports;
mod small_receivers;
mod sources;
mod srtp;
mod watch;
mod world;

use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
