//! Data channels.

use std::time::{Duration, Instant};

use sfu::Backlog;
use transport::{ChannelOptions, DataError};

use super::Core;
use super::connection::{ChannelKind, DataChannel};
use super::data_tracks::{self, DataTrackChannel};
use super::drops::Drop;
use super::slow_readers::Pace;
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
        negotiated: Option<u16>,
    ) -> Result<(), EngineError> {
        let options = ChannelOptions {
            label,
            protocol: String::new(),
            ordered,
            max_retransmits,
            negotiated,
        };
        self.with_transport(now, id, |transport| transport.open_channel(now, options))
    }

    /// The peer has said how large a message it takes; 0: none.
    pub(super) fn set_max_message_size(
        &mut self,
        now: Instant,
        id: Id,
        bytes: usize,
    ) -> Result<(), EngineError> {
        let index = self.find_connection(id)?;
        if let Some(connection) = self.connections.get_mut(index) {
            connection.max_message = bytes;
            connection.transport.expect_data(now, bytes > 0);
        }
        self.pump(now, index);
        Ok(())
    }

    /// Sends one message on many channels. A full one costs only its own subscriber.
    pub(super) fn send_data(&mut self, now: Instant, send: &SendData) {
        for &(id, stream_id) in &send.channels {
            let Some(index) = self.connections.find(id) else {
                self.drop_for(None, Drop::DataNoChannel);
                continue;
            };
            self.guard(now, id, |core| {
                core.send_on_channel(now, index, stream_id, send);
                core.pump(now, index);
            });
            self.attribute_drops(Some(index));
        }
    }

    fn send_on_channel(&mut self, now: Instant, index: Index, stream_id: u16, send: &SendData) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let (transport, len) = (&mut connection.transport, send.payload.len());
        if len > connection.max_message {
            return self.drops.count(Drop::DataTooLarge);
        }
        let channel = connection.channels.get_mut(&stream_id);
        let (Some(channel), Some(buffered)) = (channel, transport.buffered(stream_id)) else {
            return self.drops.count(Drop::DataNoChannel);
        };
        let is_lossy = channel.kind != ChannelKind::Reliable;
        let pace = match channel.kind {
            ChannelKind::Reliable => self.slow_readers.pace(&self.config, now, channel, buffered),
            _ if channel.backlog.accepts(now, buffered) => Pace::Free,
            _ => return self.drops.count(Drop::DataLate),
        };
        let sent = match pace {
            Pace::TooSlow => Err(DataError::Full { buffered }),
            Pace::Free | Pace::Slow => {
                transport.send_data(now, stream_id, &send.payload, send.binary)
            }
        };
        let reader = (connection.id, stream_id);
        match sent {
            Ok(()) => channel.backlog.sent(len),
            Err(DataError::Full { .. }) if is_lossy => self.drops.count(Drop::DataChannelFull),
            Err(DataError::Full { buffered }) => {
                if pace == Pace::TooSlow {
                    self.drops.count(Drop::DataSlowReader);
                }
                self.events.push(Event::DataChannelOverflow {
                    transport: connection.id,
                    stream_id,
                    buffered,
                });
            }
            Err(DataError::TooLarge) => self.drops.count(Drop::DataTooLarge),
            Err(DataError::Unknown | DataError::NotReady) => {
                self.drops.count(Drop::DataNoChannel);
            }
        }
        if pace == Pace::Slow {
            self.wait_for_reader(now, send.source, reader);
        }
    }

    pub(super) fn channel_opened(
        &mut self,
        index: Index,
        stream_id: u16,
        label: &str,
        max_retransmits: Option<u16>,
    ) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let kind = match max_retransmits {
            _ if label == data_tracks::LABEL => ChannelKind::DataTrack,
            Some(0) => ChannelKind::Lossy,
            _ => ChannelKind::Reliable,
        };
        let target = match kind {
            ChannelKind::Lossy => self.config.data_lossy_target_latency,
            ChannelKind::Reliable | ChannelKind::DataTrack => Duration::ZERO,
        };
        let backlog = Backlog::new(target);
        let channel = DataChannel { kind, backlog };
        connection.channels.insert(stream_id, channel);
        if kind == ChannelKind::DataTrack {
            // Of several the latest is used.
            connection.data_track_channel = Some(DataTrackChannel {
                stream_id,
                backlog: Backlog::new(self.config.data_track_target_latency),
            });
        }
    }

    pub(super) fn channel_kind(&self, index: Index, stream_id: u16) -> Option<ChannelKind> {
        let channels = &self.connections.get(index)?.channels;
        channels.get(&stream_id).map(|channel| channel.kind)
    }

    pub(super) fn channel_closed(&mut self, index: Index, stream_id: u16) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.channels.remove(&stream_id);
            let channel = &mut connection.data_track_channel;
            channel.take_if(|channel| channel.stream_id == stream_id);
        }
    }
}
