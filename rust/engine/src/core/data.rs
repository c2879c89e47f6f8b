//! Data channels.

use std::time::Instant;

use transport::{ChannelOptions, DataError};

use super::Core;
use super::drops::Drop;
use super::table::Index;
use crate::api::{EngineError, Event, Id, SendData};

impl Core {
    pub(super) fn open_data_channel(
        &mut self,
        now: Instant,
        id: Id,
        label: String,
        ordered: bool,
        max_retransmits: Option<u16>,
    ) -> Result<(), EngineError> {
        let options = ChannelOptions {
            label,
            protocol: String::new(),
            ordered,
            max_retransmits,
        };
        self.with_transport(now, id, |transport| transport.open_channel(now, options))
    }

    /// Sends one message on many channels. A full one costs only its own subscriber.
    pub(super) fn send_data(&mut self, now: Instant, send: &SendData) {
        for &(id, stream_id) in &send.channels {
            let Some(index) = self.connections.find(id) else {
                self.drops.count(Drop::DataNoChannel);
                continue;
            };
            self.guard(now, id, |core| {
                core.send_on_channel(now, index, stream_id, send);
                core.pump(now, index);
            });
        }
    }

    fn send_on_channel(&mut self, now: Instant, index: Index, stream_id: u16, send: &SendData) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let is_lossy = connection
            .channels
            .get(&stream_id)
            .copied()
            .unwrap_or(false);
        let transport = &mut connection.transport;
        match transport.send_data(now, stream_id, &send.payload, send.binary) {
            Ok(()) => {}
            Err(DataError::Full { .. }) if is_lossy => self.drops.count(Drop::DataChannelFull),
            Err(DataError::Full { buffered }) => self.events.push(Event::DataChannelOverflow {
                transport: connection.id,
                stream_id,
                buffered,
            }),
            Err(DataError::Unknown | DataError::NotReady | DataError::TooLarge) => {
                self.drops.count(Drop::DataNoChannel);
            }
        }
    }

    pub(super) fn channel_opened(
        &mut self,
        index: Index,
        stream_id: u16,
        max_retransmits: Option<u16>,
    ) {
        if let Some(connection) = self.connections.get_mut(index) {
            let is_lossy = max_retransmits == Some(0);
            connection.channels.insert(stream_id, is_lossy);
        }
    }

    pub(super) fn channel_closed(&mut self, index: Index, stream_id: u16) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.channels.remove(&stream_id);
        }
    }
}
