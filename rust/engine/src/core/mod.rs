//! One worker without its thread: commands, datagrams and time go in, datagrams and events come out.
//!
//! [`Core`] owns everything that hangs on the worker's transports. It opens no socket and reads no
//! clock, so that a whole call runs inside one test. A turn of its driver is: some
//! [`Core::handle_command`], some [`Core::handle_datagram`] and an [`Core::end_batch`], then
//! [`Core::handle_timeout`], [`Core::flush`] and [`Core::take_events`].
//!
//! | module | what |
//! |---|---|
//! | `demux` | datagram → transport (RFC 7983, ICE) |
//! | `ingress` | RTP → receiver |
//! | `forward` | receiver → down tracks → send batch |
//! | `feedback` | RTCP that arrives |
//! | `reports` | RTCP that is sent |
//! | `allocation` | bandwidth of subscribers |
//! | `transports`, `tracks`, `data`, `data_tracks` | commands, by what they are about |
//! | `watch` | media that should flow and does not |
//! | `slow_readers` | who waits for whose data channel |
//! | `collect` | statistics |
//! | `connection` | the state of one transport |
//! | `guard` | what a panic costs |
//!
//! Whatever is done for a transport runs inside `guard`: a panic closes that transport and no other.
//! A panic that is about no transport leaves the core, and its driver makes another one.

mod allocation;
mod collect;
mod connection;
mod data;
mod data_tracks;
mod demux;
mod drops;
mod feedback;
mod forward;
mod guard;
mod ingress;
mod reports;
mod slow_readers;
mod table;
mod timers;
mod tracks;
mod transports;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use sfu::{DownTrack, PublisherClock, Receiver};
use transport::{CandidatePair, DtlsIdentity, LocalCandidate};

use crate::api::{Code, Command, EngineConfig, EngineError, Event, Id};
use crate::egress::{Egress, PacketOutput};
use collect::Collection;
use connection::Connection;
use data_tracks::{DataDownTrack, DataTrack};
use drops::{Counts, Drops};
use slow_readers::SlowReaders;
use table::{Index, Table};
use timers::{Armed, Task, Timers};
use watch::{Flow, Watch};

/// A published track.
struct Source {
    id: Id,
    connection: Index,
    mid: Box<[u8]>,
    clock_group: Id,
    receiver: Receiver,
    down_tracks: Vec<Index>,
    flow: Flow,
    /// When a down track that is not meant to be silent was last seen.
    wanted_at: Option<Instant>,
    /// The transport's drops when the source became quiet.
    quiet: Option<Box<Counts>>,
    /// It is in [`Core::touched`].
    touched: bool,
    timer: Armed,
}

/// A track on its way to a subscriber.
struct Subscription {
    id: Id,
    connection: Index,
    /// None: its receiver was closed.
    source: Option<Index>,
    track: DownTrack,
    flow: Flow,
    /// A sender report was sent.
    reported: bool,
    timer: Armed,
}

/// The clock of a publisher, shared by its tracks.
#[derive(Default)]
struct ClockGroup {
    clock: PublisherClock,
    receivers: usize,
}

/// What the driver knows and statistics tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Commands refused because the queue was full.
    pub commands_dropped: u64,
    /// Events dropped because the queue was full.
    pub events_dropped: u64,
    /// CPU time of the worker's thread.
    pub cpu: Duration,
}

/// See the module.
pub struct Core {
    worker: usize,
    config: EngineConfig,
    identity: DtlsIdentity,
    local_candidates: Vec<LocalCandidate>,
    connections: Table<Connection>,
    sources: Table<Source>,
    subscriptions: Table<Subscription>,
    data_tracks: Table<DataTrack>,
    data_down_tracks: Table<DataDownTrack>,
    /// Data track packets to forward, with the transports that they came on.
    data_packets: Vec<(Id, Vec<u8>)>,
    clocks: FxHashMap<Id, ClockGroup>,
    /// By the ufrag that peers address.
    ufrags: FxHashMap<String, Index>,
    /// By the addresses that packets travel between.
    tuples: FxHashMap<CandidatePair, Index>,
    timers: Timers,
    audio_timer: Armed,
    next_audio_levels: Option<Instant>,
    /// Sources with a batch to forward.
    touched: Vec<Index>,
    egress: Egress,
    events: Vec<Event>,
    drops: Drops,
    received: u64,
    panics: u64,
    data_paused: bool,
    slow_readers: SlowReaders,
    watch: Watch,
    collection: Collection,
    driver: DriverCounters,
    /// Scratch for one compound RTCP packet.
    compound: Vec<u8>,
    due: Vec<(Instant, Task)>,
    /// Where the next panic happens.
    #[cfg(test)]
    panic_at: Option<guard::Point>,
}

impl Core {
    /// A worker's core that sends into `output` and receives on `local_candidates`.
    pub fn new(
        now: Instant,
        worker: usize,
        config: EngineConfig,
        identity: DtlsIdentity,
        local_candidates: Vec<LocalCandidate>,
        output: Box<dyn PacketOutput>,
    ) -> Self {
        Self {
            worker,
            config,
            identity,
            local_candidates,
            connections: Table::default(),
            sources: Table::default(),
            subscriptions: Table::default(),
            data_tracks: Table::default(),
            data_down_tracks: Table::default(),
            data_packets: Vec::new(),
            clocks: FxHashMap::default(),
            ufrags: FxHashMap::default(),
            tuples: FxHashMap::default(),
            timers: Timers::new(now),
            audio_timer: Armed::default(),
            next_audio_levels: None,
            touched: Vec::new(),
            egress: Egress::new(output),
            events: Vec::new(),
            drops: Drops::default(),
            received: 0,
            panics: 0,
            data_paused: false,
            slow_readers: SlowReaders::default(),
            watch: Watch::default(),
            collection: Collection::default(),
            driver: DriverCounters::default(),
            compound: Vec::with_capacity(2048),
            due: Vec::new(),
            #[cfg(test)]
            panic_at: None,
        }
    }

    /// Carries out one command. What cannot be done is answered by [`Event::CommandFailed`].
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let (name, subject) = (command.name(), command.subject());
        let transport = command.transport();
        let carry_out = AssertUnwindSafe(|| self.carry_out(now, command));
        let outcome = catch_unwind(carry_out).unwrap_or_else(|_| {
            match transport.or_else(|| self.transport_of(subject)) {
                Some(transport) => self.abandon(now, transport),
                None => self.panics += 1,
            }
            Err(EngineError::new(Code::Internal, "the command panicked"))
        });
        if let Err(EngineError { code, message }) = outcome {
            self.events.push(Event::CommandFailed {
                command: name,
                subject,
                code,
                message,
            });
        }
    }

    /// Goes on counting where `failed`, whose place it takes, has stopped, and answers its requests
    /// for statistics.
    pub(crate) fn inherit(&mut self, now: Instant, failed: &Self) {
        failed
            .unanswered()
            .for_each(|request| self.collect_stats(now, request));
        self.received = failed.received;
        self.panics = failed.panics + 1;
        self.drops = failed.drops.clone();
        self.driver = failed.driver;
        self.egress.inherit(&failed.egress);
    }

    /// Requests for statistics that have not been answered.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = u64> {
        self.collection.unanswered()
    }

    /// The driver caught a panic by itself.
    pub(crate) fn count_panic(&mut self) {
        self.panics += 1;
    }

    /// What the driver counted, for the next statistics.
    pub fn set_driver_counters(&mut self, counters: DriverCounters) {
        self.driver = counters;
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        #[cfg(test)]
        self.maybe_panic(guard::Point::Turn);
        let mut due = std::mem::take(&mut self.due);
        self.timers.take_due(now, &mut due);
        for (at, task) in due.drain(..) {
            match task {
                Task::Transport(id) => self.run_transport(now, at, id),
                Task::Reports(id) => self.run_reports(now, at, id),
                Task::Receiver(id) => self.run_receiver(now, at, id),
                Task::DownTrack(id) => self.run_down_track(now, at, id),
                Task::Allocation(id) => self.run_allocation(now, at, id),
                Task::AudioLevels => self.run_audio_levels(now, at),
                Task::SlowReaders => self.run_slow_readers(now, at),
                Task::Watch => self.run_watch(now, at),
                Task::Statistics => self.run_statistics(now, at),
            }
        }
        self.due = due;
        self.forward_data_packets(now);
    }

    /// Sends what was collected.
    pub fn flush(&mut self) {
        self.egress.flush();
    }

    /// Tries again what the sockets would not take. Returns whether something still waits.
    pub fn retry(&mut self) -> bool {
        self.egress.retry()
    }

    /// Takes the events since the last call, oldest first.
    pub fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// Closes every transport, saying goodbye to the peers.
    pub fn close(&mut self, now: Instant) {
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            self.guard(now, id, |core| core.close_connection(now, id));
        }
        self.flush();
    }

    fn carry_out(&mut self, now: Instant, command: Command) -> Result<(), EngineError> {
        #[cfg(test)]
        self.maybe_panic(guard::Point::Command(command.subject()));
        match command {
            Command::CreateTransport {
                transport,
                ice,
                ice_lite,
                controlling,
                ..
            } => self.create_transport(now, transport, &ice, ice_lite, controlling),
            Command::SetRemoteParameters {
                transport,
                ice,
                dtls,
                ..
            } => self.set_remote_parameters(now, transport, &ice, &dtls),
            Command::RestartIce { transport, ice } => self.restart_ice(now, transport, &ice),
            Command::AddRemoteCandidate {
                transport,
                candidate,
            } => self.add_remote_candidate(now, transport, &candidate),
            Command::CloseTransport { transport } => {
                self.close_connection(now, transport);
                Ok(())
            }
            Command::CreateReceiver(create) => self.create_receiver(now, *create),
            Command::UpdateReceiver { receiver, muted } => {
                self.update_receiver(now, receiver, muted)
            }
            Command::RenegotiateReceiver {
                receiver,
                codecs,
                header_extensions,
                encodings,
            } => {
                let extensions = &header_extensions;
                self.renegotiate_receiver(now, receiver, &codecs, extensions, &encodings)
            }
            Command::CloseReceiver { receiver } => {
                self.close_receiver(now, receiver);
                Ok(())
            }
            Command::RequestKeyFrame { receiver } => self.request_key_frame(now, receiver),
            Command::CreateDownTrack(create) => self.create_down_track(now, *create),
            Command::UpdateDownTrack {
                down_track,
                max_spatial,
                max_temporal,
                muted,
            } => self.update_down_track(now, down_track, (max_spatial, max_temporal), muted),
            Command::RenegotiateDownTrack {
                down_track,
                codecs,
                header_extensions,
            } => self.renegotiate_down_track(now, down_track, &codecs, &header_extensions),
            Command::CloseDownTrack { down_track } => {
                self.close_down_track(now, down_track);
                Ok(())
            }
            Command::SetCongestionControl {
                transport,
                allow_pause,
                capacity_bps,
            } => self.set_congestion_control(now, transport, allow_pause, capacity_bps),
            Command::OpenDataChannel {
                transport,
                label,
                ordered,
                max_retransmits,
                negotiated,
            } => {
                self.open_data_channel(now, transport, label, ordered, max_retransmits, negotiated)
            }
            Command::SetMaxMessageSize { transport, bytes } => {
                self.set_max_message_size(now, transport, bytes)
            }
            Command::CreateDataTrack {
                data_track,
                transport,
                handle,
            } => self.create_data_track(data_track, transport, handle),
            Command::CloseDataTrack { data_track } => {
                self.close_data_track(data_track);
                Ok(())
            }
            Command::CreateDataDownTrack {
                data_down_track,
                transport,
                data_track,
                handle,
            } => self.create_data_down_track(data_down_track, transport, data_track, handle),
            Command::CloseDataDownTrack { data_down_track } => {
                self.close_data_down_track(data_down_track);
                Ok(())
            }
            Command::SendData(send) => {
                self.send_data(now, &send);
                Ok(())
            }
            Command::CollectStats { request } => {
                self.collect_stats(now, request);
                Ok(())
            }
        }
    }
}

fn not_found(what: &str, id: Id) -> EngineError {
    EngineError::new(Code::NotFound, format!("there is no {what} {id}"))
}

#[cfg(test)]
mod tests;
