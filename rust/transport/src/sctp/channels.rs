//! Data channels: the streams that they have, from opening to reset.

use std::collections::VecDeque;
use std::time::Instant;

use sctp_proto::Error::ErrStreamResetPending;
use sctp_proto::{PayloadProtocolIdentifier as Ppid, StreamEvent};

use super::guard::{Message as Arrived, SINK};
use super::outbox::Outbox;
use super::{Phase, Sctp, config};
use crate::dcep::{Message, Open, Reliability};
use crate::limits;
use crate::types::{ChannelOptions, TransportError, TransportEvent};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelState {
    /// The peer uses the stream but DATA_CHANNEL_OPEN was not read yet.
    Announced,
    /// We sent DATA_CHANNEL_OPEN.
    Opening,
    Open,
}

pub(super) struct Channel {
    pub(super) state: ChannelState,
    pub(super) open: Option<Open>,
    /// Both sides have agreed on it: nobody has to be told that it is open.
    pub(super) negotiated: bool,
    /// Messages that nobody reads yet.
    pub(super) inbox: VecDeque<Arrived>,
    /// The peer has reset the stream: the channel ends when its messages were read.
    pub(super) is_finished: bool,
    pub(super) outbox: Outbox,
}

impl Channel {
    pub(super) fn new(state: ChannelState, open: Option<Open>) -> Self {
        Self {
            state,
            open,
            negotiated: false,
            inbox: VecDeque::new(),
            is_finished: false,
            outbox: Outbox::default(),
        }
    }

    pub(super) fn is_reliable(&self) -> bool {
        let open = self.open.as_ref();
        self.state == ChannelState::Open
            && open.is_some_and(|open| open.reliability == Reliability::Reliable)
    }
}

impl Sctp {
    pub(crate) fn open_channel(
        &mut self,
        now: Instant,
        options: ChannelOptions,
    ) -> Result<(), TransportError> {
        if options.label.len() > limits::LABEL_MAX || options.protocol.len() > limits::PROTOCOL_MAX
        {
            return Err(TransportError::Channel("label or protocol too long"));
        }
        if self.channels.len() + self.waiting.len() >= limits::CHANNELS {
            return Err(TransportError::Channel("too many channels"));
        }
        if options
            .negotiated
            .is_some_and(|id| id >= limits::SCTP_STREAMS)
        {
            return Err(TransportError::Channel("no such stream"));
        }
        if matches!(self.phase, Phase::Ended) {
            return Err(TransportError::Channel("SCTP has ended"));
        }
        self.waiting.push_back(options);
        self.connect_if_wanted(now);
        Ok(())
    }

    pub(super) fn stream_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened { .. } => self.guard.stream_made(),
            StreamEvent::Finished { .. } => self.guard.reset_begun(),
            StreamEvent::ResetComplete { .. } | StreamEvent::ResetFailed { .. } => {
                self.guard.reset_done();
            }
            _ => {}
        }
        match event {
            StreamEvent::Opened { id: SINK } | StreamEvent::Readable { id: SINK } => {
                self.drain_sink()
            }
            StreamEvent::Finished { id: SINK } => {}
            StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. } => {
                self.resetting.insert(id);
                match self.channels.get_mut(&id) {
                    Some(channel) if !channel.inbox.is_empty() => channel.is_finished = true,
                    _ => self.forget(id),
                }
            }
            StreamEvent::ResetComplete { id } => {
                self.resetting.remove(&id);
            }
            _ => {}
        }
    }

    pub(super) fn open_waiting(&mut self) {
        if !matches!(
            self.phase,
            Phase::Running {
                established: true,
                ..
            }
        ) {
            return;
        }
        for _ in 0..self.waiting.len() {
            let Some(options) = self.waiting.pop_front() else {
                return;
            };
            match options.negotiated {
                Some(id) => self.open_negotiated(id, options),
                None => self.open_in_band(options),
            }
        }
    }

    /// Opens a channel and tells the peer.
    fn open_in_band(&mut self, options: ChannelOptions) {
        let Phase::Running { association, .. } = &mut self.phase else {
            return;
        };
        let open = Open::from(options);
        let promised = |id: &u16| self.waiting.iter().any(|w| w.negotiated == Some(*id));
        // RFC 8832 6: even streams are the DTLS client's, odd ones the server's.
        let first = u16::from(self.is_client == Some(false));
        let opened = (first..limits::SCTP_STREAMS)
            .step_by(2)
            .filter(|id| !self.channels.contains_key(id) && !self.resetting.contains(id))
            .filter(|id| !promised(id))
            .find_map(|id| {
                let mut stream = association.open_stream(id, Ppid::Binary).ok()?;
                let message = Message::Open(open.clone()).to_bytes();
                stream.write_with_ppi(&message, Ppid::Dcep).ok()?;
                config::configure(&mut stream, &open);
                Some(id)
            });
        if let Some(id) = opened {
            self.guard.stream_made();
            self.channels
                .insert(id, Channel::new(ChannelState::Opening, Some(open)));
        }
    }

    /// Opens a channel that the peer knows of. Its first messages may be here already. It waits while the
    /// stream has another that has not ended yet.
    fn open_negotiated(&mut self, id: u16, options: ChannelOptions) {
        let channel = self.channels.get(&id);
        let is_unread = channel.is_some_and(|channel| channel.is_finished);
        if is_unread || self.resetting.contains(&id) {
            return self.waiting.push_back(options);
        }
        match channel.map(|channel| channel.state) {
            None | Some(ChannelState::Announced) => {}
            // The peer, or we, had it first.
            Some(ChannelState::Opening | ChannelState::Open) => return,
        }
        let Phase::Running { association, .. } = &mut self.phase else {
            return;
        };
        if association.stream(id).is_err() {
            match association.open_stream(id, Ppid::Binary) {
                Ok(_) => self.guard.stream_made(),
                // When both sides reset it at once the association sends a second request, and tells of
                // the end of the first.
                Err(ErrStreamResetPending) => return self.waiting.push_back(options),
                Err(_) => return,
            }
        }
        let open = Open::from(options);
        if let Ok(mut stream) = association.stream(id) {
            config::configure(&mut stream, &open);
        }
        let announced = || Channel::new(ChannelState::Announced, None);
        let channel = self.channels.entry(id).or_insert_with(announced);
        channel.open = Some(open);
        channel.negotiated = true;
        self.opened(id);
    }

    /// Resets a channel whose peer does not keep to the protocol.
    pub(super) fn fail_channel(&mut self, id: u16) {
        self.reset(id);
        self.forget(id);
    }

    pub(super) fn reset(&mut self, id: u16) {
        if let Phase::Running { association, .. } = &mut self.phase
            && let Ok(mut stream) = association.stream(id)
            && stream.close().is_ok()
        {
            self.resetting.insert(id);
        }
    }

    pub(super) fn forget(&mut self, id: u16) {
        self.guard.closed(id);
        let Some(channel) = self.channels.remove(&id) else {
            return;
        };
        for message in &channel.inbox {
            self.guard.read(message.bytes.len());
        }
        if channel.state != ChannelState::Announced {
            self.events
                .push_back(TransportEvent::ChannelClosed { stream_id: id });
        }
    }

    /// What the association was told in place of DATA.
    fn drain_sink(&mut self) {
        if let Phase::Running { association, .. } = &mut self.phase
            && let Ok(mut stream) = association.stream(SINK)
        {
            while let Ok(Some(_)) = stream.read() {}
        }
    }
}

impl From<ChannelOptions> for Open {
    fn from(options: ChannelOptions) -> Self {
        Open {
            ordered: options.ordered,
            reliability: match options.max_retransmits {
                Some(count) => Reliability::MaxRetransmits(count.into()),
                None => Reliability::Reliable,
            },
            label: options.label,
            protocol: options.protocol,
        }
    }
}
