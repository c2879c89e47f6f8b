//! One SCTP association over DTLS and its data channels (RFC 8831).
//!
//! The association begins when the peer sends INIT or when we do. The DTLS client sends one at once,
//! for the sake of peers that wait for it, and stops asking when there is no answer: there may be no
//! data channels at all. The DTLS server does so only for a channel that it has to open, and a little
//! later, because most peers send INIT whatever their role and two crossing INITs cost a
//! retransmission timeout.

mod acks;
#[cfg(any(test, feature = "raw-sctp"))]
pub mod attacks;
mod channels;
mod config;
mod guard;
#[cfg(test)]
mod hostile_tests;
mod messages;
#[cfg(test)]
mod negotiated_tests;
#[cfg(test)]
mod ordinary_tests;
mod outbox;
#[cfg(any(test, feature = "raw-sctp"))]
pub mod raw;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transfer_tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashSet;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, Event, Payload,
    PayloadProtocolIdentifier as Ppid,
};

use acks::DelayedAck;
use channels::{Channel, ChannelState};
use guard::Guard;
use outbox::Pace;

use crate::limits;
use crate::types::{ChannelOptions, DataError, SctpRefused, TransportEvent};

/// How long a DTLS server waits for the peer's INIT before it sends its own.
const SERVER_PATIENCE: Duration = Duration::from_millis(300);

enum Phase {
    /// No association. The instant is when a DTLS server's patience ends.
    Idle(Option<Instant>),
    Running {
        handle: AssociationHandle,
        association: Box<Association>,
        established: bool,
        /// We sent the INIT.
        ours: bool,
    },
    Ended,
}

impl Phase {
    fn is_established(&self) -> bool {
        matches!(
            self,
            Self::Running {
                established: true,
                ..
            }
        )
    }
}

pub(crate) struct Sctp {
    endpoint: Option<Endpoint>,
    phase: Phase,
    /// Role in DTLS, known once it is connected.
    is_client: Option<bool>,
    channels: BTreeMap<u16, Channel>,
    /// Streams whose reset is under way: not to be used again yet.
    resetting: FxHashSet<u16>,
    waiting: VecDeque<ChannelOptions>,
    paused: bool,
    /// Only the reliable channels are.
    reliable_paused: bool,
    channel_buffer: usize,
    /// The peer takes no data: no association is begun unasked.
    silent: bool,
    delayed_ack: Option<DelayedAck>,
    /// A SACK that waits for the peer to have sent as much is sent then.
    sack_due: Option<Instant>,
    pace: Pace,
    guard: Guard,
    /// The last packet with DATA that was sent.
    #[cfg(any(test, feature = "raw-sctp"))]
    last_data: Option<Bytes>,
    /// Packets to send over DTLS, oldest first.
    pub(crate) packets: VecDeque<Bytes>,
    pub(crate) events: VecDeque<TransportEvent>,
}

impl Sctp {
    pub(crate) fn new(channel_buffer: usize) -> Self {
        Sctp {
            endpoint: None,
            phase: Phase::Idle(None),
            is_client: None,
            channels: BTreeMap::new(),
            resetting: FxHashSet::default(),
            waiting: VecDeque::new(),
            paused: false,
            reliable_paused: false,
            channel_buffer,
            silent: false,
            delayed_ack: None,
            sack_due: None,
            pace: Pace::default(),
            guard: Guard::default(),
            #[cfg(any(test, feature = "raw-sctp"))]
            last_data: None,
            packets: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// DTLS is connected.
    pub(crate) fn start(&mut self, now: Instant, is_client: bool) {
        self.is_client = Some(is_client);
        if is_client && !self.silent {
            self.connect();
        }
        self.connect_if_wanted(now);
    }

    /// Whether the peer takes data at all (RFC 8841). The DTLS client begins the association.
    pub(crate) fn expect_data(&mut self, now: Instant, expected: bool) {
        self.silent = !expected;
        if expected && self.is_client == Some(true) && matches!(self.phase, Phase::Idle(None)) {
            self.connect();
            self.drive(now);
        }
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        stream_id: u16,
        bytes: &[u8],
        binary: bool,
    ) -> Result<(), DataError> {
        if bytes.len() > limits::MESSAGE_MAX {
            return Err(DataError::TooLarge);
        }
        let channel = self.channels.get_mut(&stream_id);
        let channel = channel.ok_or(DataError::Unknown)?;
        if channel.state != ChannelState::Open {
            return Err(DataError::NotReady);
        }
        let Phase::Running { association, .. } = &mut self.phase else {
            return Err(DataError::NotReady);
        };
        let stream = association.stream(stream_id);
        if !stream.map_err(|_gone| DataError::Unknown)?.is_writable() {
            return Err(DataError::NotReady);
        }
        channel.outbox.settle(association, stream_id);
        if channel.outbox.size() + bytes.len() > self.channel_buffer {
            let buffered = channel.outbox.bytes();
            return Err(DataError::Full { buffered });
        }
        // SCTP cannot carry an empty message: it is one byte under a protocol identifier that says
        // so (RFC 8831 6.6).
        let (payload, ppid): (&[u8], Ppid) = match (bytes.is_empty(), binary) {
            (false, true) => (bytes, Ppid::Binary),
            (false, false) => (bytes, Ppid::String),
            (true, true) => (&[0], Ppid::BinaryEmpty),
            (true, false) => (&[0], Ppid::StringEmpty),
        };
        channel.outbox.push(ppid, payload);
        self.feed();
        self.transmit(now);
        Ok(())
    }

    /// What the guard refused.
    pub(crate) fn refused(&self) -> SctpRefused {
        self.guard.refused
    }

    /// Bytes that a channel holds; None if there is no such channel.
    pub(crate) fn buffered(&mut self, stream_id: u16) -> Option<usize> {
        let Phase::Running { association, .. } = &mut self.phase else {
            return None;
        };
        let given = association.stream(stream_id).ok()?.buffered_amount().ok()?;
        let channel = self.channels.get(&stream_id);
        Some(given + channel.map_or(0, |channel| channel.outbox.waiting_bytes()))
    }

    /// While paused, messages stay in SCTP, whose receive window closes as they fill it.
    pub(crate) fn pause(&mut self, now: Instant, paused: bool) {
        self.paused = paused;
        self.drive(now);
    }

    /// The same for reliable channels alone: the others go on until the window is closed.
    pub(crate) fn pause_reliable(&mut self, now: Instant, paused: bool) {
        self.reliable_paused = paused;
        self.drive(now);
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, packet: Bytes) {
        if self.is_client.is_none() || matches!(self.phase, Phase::Ended) {
            return;
        }
        let established = self.phase.is_established();
        // A late copy of the peer's INIT is no reason to end the association.
        if established && config::is_init(&packet) {
            return;
        }
        let passed = match &mut self.phase {
            // The peer's INIT crosses ours, and the DTLS client's is the one that counts.
            Phase::Running { ours: true, .. } if config::is_init(&packet) => {
                if self.is_client == Some(true) {
                    return;
                }
                self.guard.restart();
                self.guard.inbound(packet, false, &mut NoStreams)
            }
            Phase::Running { association, .. } => {
                let streams = &mut Known(association);
                self.guard.inbound(packet, established, streams)
            }
            _ => {
                self.guard.restart();
                self.guard.inbound(packet, false, &mut NoStreams)
            }
        };
        for message in self.guard.take_messages() {
            self.arrived(message);
        }
        for stream_id in self.guard.take_oversized() {
            self.fail_channel(stream_id);
        }
        if let Some(packet) = passed {
            self.handle_passed(now, packet);
        }
        self.drive(now);
        let timeout = self.association_timeout();
        self.delayed_ack = DelayedAck::of(now, timeout).or(self.delayed_ack);
    }

    /// What is left of a packet for the association.
    fn handle_passed(&mut self, now: Instant, packet: Bytes) {
        let endpoint = self.endpoint.get_or_insert_with(config::new_endpoint);
        match endpoint.handle(now, config::PEER, None, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.accept(handle, association);
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Phase::Running {
                    handle: known,
                    association,
                    ..
                } = &mut self.phase
                    && *known == handle
                {
                    association.handle_event(event);
                }
            }
            None => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let acknowledge = self.pending_ack().filter(|ack| ack.due <= now);
        match &mut self.phase {
            Phase::Idle(Some(at)) if *at <= now => self.connect(),
            Phase::Running { association, .. } => {
                association.handle_timeout(acknowledge.map_or(now, |ack| ack.deadline.max(now)));
            }
            _ => {}
        }
        self.drive(now);
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle(at) => *at,
            Phase::Running { .. } => {
                let association = match self.pending_ack() {
                    Some(ack) => Some(ack.due),
                    None => self.association_timeout(),
                };
                [association, self.sack_due, self.pace.due]
                    .into_iter()
                    .flatten()
                    .min()
            }
            Phase::Ended => None,
        }
    }

    fn association_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Running { association, .. } => association.poll_timeout(),
            _ => None,
        }
    }

    fn pending_ack(&self) -> Option<DelayedAck> {
        let timeout = self.association_timeout();
        self.delayed_ack.filter(|ack| ack.is_next(timeout))
    }

    /// Says goodbye, if there is anybody to say it to. Packets may follow; nothing else does.
    pub(crate) fn close(&mut self, now: Instant) {
        if let Phase::Running { association, .. } = &mut self.phase {
            let _already_closing = association.shutdown();
            self.flush(now);
        }
        self.phase = Phase::Ended;
        self.channels.clear();
        self.waiting.clear();
    }

    /// The association is over: every channel is closed.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Ended;
        self.endpoint = None;
        self.waiting.clear();
        let closed = std::mem::take(&mut self.channels);
        let announced = closed
            .into_iter()
            .filter(|(_, channel)| channel.state != ChannelState::Announced);
        self.events
            .extend(announced.map(|(stream_id, _)| TransportEvent::ChannelClosed { stream_id }));
    }

    fn connect_if_wanted(&mut self, now: Instant) {
        let Some(is_client) = self.is_client else {
            return;
        };
        if !self.waiting.is_empty() && matches!(self.phase, Phase::Idle(None)) {
            if is_client {
                self.connect();
            } else {
                self.phase = Phase::Idle(Some(now + SERVER_PATIENCE));
            }
        }
        self.drive(now);
    }

    /// Nobody answered our INITs.
    fn try_again(&mut self, now: Instant) {
        self.endpoint = None;
        self.phase = Phase::Idle((!self.waiting.is_empty()).then_some(now));
    }

    fn connect(&mut self) {
        let endpoint = self.endpoint.get_or_insert_with(config::new_endpoint);
        let mut client = ClientConfig::new();
        client.transport = Arc::clone(&config::CLIENT);
        if let Ok((handle, association)) = endpoint.connect(client, config::PEER) {
            self.guard.restart();
            if self.is_client == Some(true) {
                endpoint.reject_new_associations();
            }
            self.phase = Phase::Running {
                handle,
                association: Box::new(association),
                established: false,
                ours: true,
            };
        }
    }

    /// The peer's INIT arrived. When ours crossed it the DTLS client's is the one that counts.
    fn accept(&mut self, handle: AssociationHandle, association: Association) {
        let crossing_ours = matches!(
            self.phase,
            Phase::Running {
                established: false,
                ours: true,
                ..
            }
        );
        let give_way = crossing_ours && self.is_client == Some(false);
        if matches!(self.phase, Phase::Idle(_)) || give_way {
            self.phase = Phase::Running {
                handle,
                association: Box::new(association),
                established: false,
                ours: false,
            };
            if let Some(endpoint) = &mut self.endpoint {
                endpoint.reject_new_associations();
            }
        }
    }

    fn drive(&mut self, now: Instant) {
        self.take_events(now);
        self.open_waiting();
        if !self.paused {
            self.read();
        }
        self.feed();
        self.transmit(now);
        // What was sent may have made room, or ended something.
        self.take_events(now);
        self.send_owed_sack(now);
    }

    fn send_owed_sack(&mut self, now: Instant) {
        let is_due = self.sack_due.is_some_and(|at| at <= now);
        self.packets.extend(self.guard.owed_sack(is_due));
        self.sack_due = match (self.guard.owes_sack(), self.sack_due) {
            (false, _) => None,
            (true, Some(at)) if at > now => Some(at),
            (true, _) => Some(now + acks::ACK_DELAY),
        };
    }

    /// Takes what the association has to send.
    fn flush(&mut self, now: Instant) {
        let Phase::Running { association, .. } = &mut self.phase else {
            return;
        };
        // All of it at once: asking again costs as much.
        if let Some(transmit) = association.poll_transmit(now)
            && let Payload::RawEncode(packets) = transmit.payload
        {
            let packets = packets.into_iter();
            let passed = packets.filter_map(|packet| self.guard.outbound(packet));
            #[cfg(any(test, feature = "raw-sctp"))]
            let passed = passed.inspect(|packet| {
                if packet[12] == 0 {
                    self.last_data = Some(packet.clone());
                }
            });
            self.packets.extend(passed);
        }
    }

    fn take_events(&mut self, now: Instant) {
        loop {
            let Phase::Running {
                association,
                established,
                ..
            } = &mut self.phase
            else {
                return;
            };
            // The endpoint keeps one association and is dropped with it.
            while association.poll_endpoint_event().is_some() {}
            let Some(event) = association.poll() else {
                return;
            };
            match event {
                Event::Connected => *established = true,
                Event::HandshakeFailed { .. } => self.try_again(now),
                Event::AssociationLost { .. } => {
                    // An ABORT may be waiting to be sent.
                    self.flush(now);
                    self.end();
                }
                Event::Stream(event) => self.stream_event(event),
                Event::DataChannelStatsFinal(_) => self.guard.stream_gone(),
                _ => {}
            }
        }
    }
}

/// The streams of a running association.
struct Known<'a>(&'a mut Association);

impl guard::Streams for Known<'_> {
    fn ids(&self) -> Vec<u16> {
        self.0.stream_ids()
    }

    fn has(&mut self, id: u16) -> bool {
        self.0.stream(id).is_ok()
    }

    fn open(&mut self, id: u16) -> bool {
        self.0.open_stream(id, Ppid::Binary).is_ok()
    }
}

/// There is no association.
struct NoStreams;

impl guard::Streams for NoStreams {
    fn ids(&self) -> Vec<u16> {
        Vec::new()
    }

    fn has(&mut self, _id: u16) -> bool {
        false
    }

    fn open(&mut self, _id: u16) -> bool {
        false
    }
}
