//! Messages that arrived: user data and the channel protocol.

use sctp_proto::PayloadProtocolIdentifier as Ppid;

use super::channels::{Channel, ChannelState};
use super::guard::Message as Arrived;
use super::{Phase, Sctp, config};
use crate::dcep::{Message, Open, Reliability};
use crate::limits;
use crate::types::TransportEvent;

impl Sctp {
    /// A message is read at once, if anybody reads.
    pub(super) fn arrived(&mut self, message: Arrived) {
        let id = message.stream;
        // Nobody reads what a channel had that is being closed.
        if self.resetting.contains(&id) {
            return;
        }
        if !self.channels.contains_key(&id) && self.channels.len() >= limits::CHANNELS {
            return self.reset(id);
        }
        let announced = || Channel::new(ChannelState::Announced, None);
        let channel = self.channels.entry(id).or_insert_with(announced);
        let waits = self.paused || self.reliable_paused && channel.is_reliable();
        if waits || !self.phase.is_established() || !channel.inbox.is_empty() {
            self.guard.waits(message.bytes.len());
            channel.inbox.push_back(message);
        } else {
            self.message(message);
        }
    }

    pub(super) fn read(&mut self) {
        while let Some(message) = self.next_message() {
            let id = message.stream;
            self.guard.read(message.bytes.len());
            self.message(message);
            let channel = self.channels.get(&id);
            if channel.is_some_and(|channel| channel.is_finished && channel.inbox.is_empty()) {
                self.forget(id);
                // Perhaps for its stream.
                self.open_waiting();
            }
        }
    }

    fn next_message(&mut self) -> Option<Arrived> {
        // Data may arrive before the end of the handshake, but answers cannot leave before it.
        if !self.phase.is_established() {
            return None;
        }
        let paused = self.reliable_paused;
        let mut channels = self.channels.values_mut();
        channels.find_map(|channel| match paused && channel.is_reliable() {
            true => None,
            false => channel.inbox.pop_front(),
        })
    }

    fn message(&mut self, message: Arrived) {
        let Arrived {
            stream: id,
            kind,
            mut bytes,
        } = message;
        let binary = match kind {
            Ppid::Dcep => return self.dcep(id, &bytes),
            Ppid::String => false,
            Ppid::Binary => true,
            Ppid::StringEmpty | Ppid::BinaryEmpty => {
                bytes.clear();
                kind == Ppid::BinaryEmpty
            }
            // Of a kind that nobody has in use; 52 and 54 were parts of messages (RFC 8831 6.6).
            Ppid::Unknown => return,
        };
        match self.channels.get(&id).map(|channel| channel.state) {
            Some(ChannelState::Open) => {}
            // Unordered data may overtake the acknowledgement.
            Some(ChannelState::Opening) => self.opened(id),
            _ => return self.fail_channel(id),
        }
        self.events.push_back(TransportEvent::Data {
            stream_id: id,
            bytes,
            binary,
        });
    }

    fn dcep(&mut self, id: u16, bytes: &[u8]) {
        let channel = self.channels.get(&id);
        let negotiated = channel.is_some_and(|channel| channel.negotiated);
        let state = channel.map(|channel| channel.state);
        match (Message::parse(bytes), state) {
            // The peer opens what is open: its messages are as good.
            (Ok(Message::Open(_)), Some(ChannelState::Open)) if negotiated => self.write_ack(id),
            (Ok(Message::Ack), Some(ChannelState::Opening)) => self.opened(id),
            // The acknowledgement of a channel that its data opened already.
            (Ok(Message::Ack), Some(ChannelState::Open)) => {}
            (Ok(Message::Open(open)), Some(ChannelState::Announced)) => self.acknowledge(id, open),
            _ => self.fail_channel(id),
        }
    }

    fn write_ack(&mut self, id: u16) {
        if let Phase::Running { association, .. } = &mut self.phase
            && let Ok(mut stream) = association.stream(id)
        {
            // Without it the peer may hold its messages back; it is not worth the channel.
            let _refused = stream.write_with_ppi(&Message::Ack.to_bytes(), Ppid::Dcep);
        }
    }

    fn acknowledge(&mut self, id: u16, open: Open) {
        let Phase::Running { association, .. } = &mut self.phase else {
            return;
        };
        let acknowledged = association.stream(id).is_ok_and(|mut stream| {
            // The acknowledgement itself is reliable: it goes before the channel's own policy.
            let written = stream.write_with_ppi(&Message::Ack.to_bytes(), Ppid::Dcep);
            config::configure(&mut stream, &open);
            written.is_ok()
        });
        if !acknowledged {
            return self.fail_channel(id);
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.open = Some(open);
        }
        self.opened(id);
    }

    pub(super) fn opened(&mut self, id: u16) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        channel.state = ChannelState::Open;
        let Some(open) = &channel.open else {
            return;
        };
        let clamp = |value: u32| Some(value.min(u16::MAX.into()) as u16);
        let (max_retransmits, max_packet_life_time) = match open.reliability {
            Reliability::Reliable => (None, None),
            Reliability::MaxRetransmits(count) => (clamp(count), None),
            Reliability::MaxLifeTime(milliseconds) => (None, clamp(milliseconds)),
        };
        self.events.push_back(TransportEvent::ChannelOpened {
            stream_id: id,
            label: open.label.clone(),
            protocol: open.protocol.clone(),
            ordered: open.ordered,
            max_retransmits,
            max_packet_life_time,
        });
    }
}
