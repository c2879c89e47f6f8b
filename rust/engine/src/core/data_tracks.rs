//! Data tracks: from the `_data_track` channel of a publisher to those of the subscribers.
//!
//! What arrives on such a channel never leaves the engine otherwise. Packets of a track go to its
//! down tracks in the buffer that they came in, each under the subscriber's handle.

use std::time::Instant;

use sfu::{Backlog, DataTrackCounters, DataTrackHeader};
use transport::DataError;

use super::drops::Drop;
#[cfg(test)]
use super::guard::Point;
use super::table::Index;
use super::{Core, not_found};
use crate::api::{Code, DataDownTrackStats, DataTrackStats, EngineError, Id};

type Outcome = Result<(), EngineError>;

/// Label of the channels (livekit-server `pkg/rtc/transport.go`).
pub(super) const LABEL: &str = "_data_track";

/// A published data track.
pub(super) struct DataTrack {
    id: Id,
    pub(super) connection: Index,
    handle: u16,
    down_tracks: Vec<Index>,
    counters: DataTrackCounters,
}

/// A data track on its way to a subscriber.
pub(super) struct DataDownTrack {
    id: Id,
    pub(super) connection: Index,
    /// None: its data track was closed.
    data_track: Option<Index>,
    handle: u16,
    packets: u64,
    bytes: u64,
    dropped: u64,
}

/// The channel on which a transport gets data tracks.
pub(super) struct DataTrackChannel {
    pub(super) stream_id: u16,
    pub(super) backlog: Backlog,
}

impl Core {
    pub(super) fn create_data_track(&mut self, id: Id, transport: Id, handle: u16) -> Outcome {
        if self.data_tracks.find(id).is_some() {
            return Ok(());
        }
        let index = self.find_connection(transport)?;
        let Some(connection) = self.connections.get_mut(index) else {
            return Err(not_found("transport", transport));
        };
        if connection.data_tracks.contains_key(&handle) {
            let message = format!("handle {handle} is in use on transport {transport}");
            return Err(EngineError::new(Code::InvalidArgument, message));
        }
        let track = DataTrack {
            id,
            connection: index,
            handle,
            down_tracks: Vec::new(),
            counters: DataTrackCounters::default(),
        };
        let at = self.data_tracks.insert(id, track);
        connection.data_tracks.insert(handle, at);
        Ok(())
    }

    /// Forgets a data track. Its down tracks stop, and stay until they are closed.
    pub(super) fn close_data_track(&mut self, id: Id) {
        let Some(track) = self.data_tracks.remove(id) else {
            return;
        };
        for at in track.down_tracks {
            if let Some(down_track) = self.data_down_tracks.get_mut(at) {
                down_track.data_track = None;
            }
        }
        if let Some(connection) = self.connections.get_mut(track.connection) {
            connection.data_tracks.remove(&track.handle);
        }
    }

    pub(super) fn create_data_down_track(
        &mut self,
        id: Id,
        transport: Id,
        data_track: Id,
        handle: u16,
    ) -> Outcome {
        if self.data_down_tracks.find(id).is_some() {
            return Ok(());
        }
        let index = self.find_connection(transport)?;
        let found = self.data_tracks.find(data_track);
        let source = found.and_then(|at| Some((at, self.data_tracks.get_mut(at)?)));
        let Some((source_at, source)) = source else {
            let message = format!("data track {data_track} is closed or on another worker");
            return Err(EngineError::new(Code::FailedPrecondition, message));
        };
        let Some(connection) = self.connections.get_mut(index) else {
            return Err(not_found("transport", transport));
        };
        let down_track = DataDownTrack {
            id,
            connection: index,
            data_track: Some(source_at),
            handle,
            packets: 0,
            bytes: 0,
            dropped: 0,
        };
        let at = self.data_down_tracks.insert(id, down_track);
        source.down_tracks.push(at);
        connection.data_down_tracks.push(at);
        Ok(())
    }

    pub(super) fn close_data_down_track(&mut self, id: Id) {
        let Some(at) = self.data_down_tracks.find(id) else {
            return;
        };
        let Some(down_track) = self.data_down_tracks.remove(id) else {
            return;
        };
        let source = down_track.data_track;
        if let Some(source) = source.and_then(|at| self.data_tracks.get_mut(at)) {
            source.down_tracks.retain(|&other| other != at);
        }
        if let Some(connection) = self.connections.get_mut(down_track.connection) {
            connection.data_down_tracks.retain(|&other| other != at);
        }
    }

    /// Closes what a closing transport has.
    pub(super) fn close_data_tracks_of(&mut self, index: Index) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let down_tracks = connection.data_down_tracks.iter();
        let down_tracks: Vec<_> = down_tracks
            .filter_map(|&at| Some(self.data_down_tracks.get(at)?.id))
            .collect();
        let tracks = connection.data_tracks.values();
        let tracks: Vec<_> = tracks
            .filter_map(|&at| Some(self.data_tracks.get(at)?.id))
            .collect();
        down_tracks
            .into_iter()
            .for_each(|id| self.close_data_down_track(id));
        tracks.into_iter().for_each(|id| self.close_data_track(id));
    }

    /// Forwards the packets that have arrived.
    pub(super) fn forward_data_packets(&mut self, now: Instant) {
        if self.data_packets.is_empty() {
            return;
        }
        let mut packets = std::mem::take(&mut self.data_packets);
        for (publisher, mut packet) in packets.drain(..) {
            self.guard(now, publisher, |core| {
                #[cfg(test)]
                core.maybe_panic(Point::DataTrack(publisher));
                core.forward_data_packet(now, publisher, &mut packet);
            });
        }
        // The buffer is used again, with what may have come meanwhile.
        packets.append(&mut self.data_packets);
        self.data_packets = packets;
    }

    fn forward_data_packet(&mut self, now: Instant, publisher: Id, packet: &mut [u8]) {
        let Some(header) = DataTrackHeader::parse(packet) else {
            let index = self.connections.find(publisher);
            return self.drop_for(index, Drop::DataTrackMalformed);
        };
        let index = self.connections.find(publisher);
        let connection = index.and_then(|index| self.connections.get(index));
        let track_at = connection.and_then(|c| c.data_tracks.get(&header.handle).copied());
        let track = track_at.and_then(|at| Some((at, self.data_tracks.get_mut(at)?)));
        let Some((track_at, track)) = track else {
            return self.drop_for(index, Drop::DataTrackUnknown);
        };
        track.counters.count(&header, packet.len());
        // By number: a subscriber whose transport panics is taken out of the list meanwhile, and
        // the one who moves up misses this packet.
        let mut number = 0;
        while let Some(&at) = self
            .data_tracks
            .get(track_at)
            .and_then(|track| track.down_tracks.get(number))
        {
            self.send_data_packet(now, at, packet);
            number += 1;
        }
    }

    fn send_data_packet(&mut self, now: Instant, at: Index, packet: &mut [u8]) {
        let Some(down_track) = self.data_down_tracks.get(at) else {
            return;
        };
        let index = down_track.connection;
        DataTrackHeader::readdress(packet, down_track.handle);
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let sent = self.guard(now, connection.id, |core| {
            let sent = core.write_data_packet(now, index, packet);
            core.pump(now, index);
            sent
        });
        let Some(down_track) = self.data_down_tracks.get_mut(at) else {
            return;
        };
        match sent {
            Some(Ok(())) => {
                down_track.packets += 1;
                down_track.bytes += packet.len() as u64;
            }
            Some(Err(reason)) => {
                down_track.dropped += 1;
                self.drop_for(Some(index), reason);
            }
            None => {}
        }
    }

    fn write_data_packet(&mut self, now: Instant, at: Index, packet: &[u8]) -> Result<(), Drop> {
        #[cfg(test)]
        self.maybe_panic_on(at);
        let connection = self.connections.get_mut(at).ok_or(Drop::DataNoChannel)?;
        let channel = connection.data_track_channel.as_mut();
        let channel = channel.ok_or(Drop::DataNoChannel)?;
        let (transport, stream_id) = (&mut connection.transport, channel.stream_id);
        let buffered = transport.buffered(stream_id).ok_or(Drop::DataNoChannel)?;
        if !channel.backlog.accepts(now, buffered) {
            return Err(Drop::DataTrackLate);
        }
        match transport.send_data(now, stream_id, packet, true) {
            Ok(()) => {
                channel.backlog.sent(packet.len());
                Ok(())
            }
            Err(DataError::Full { .. }) => Err(Drop::DataChannelFull),
            Err(DataError::Unknown | DataError::NotReady | DataError::TooLarge) => {
                Err(Drop::DataNoChannel)
            }
        }
    }
}

impl DataTrack {
    pub(super) fn stats(&mut self) -> DataTrackStats {
        let stats = self.counters.stats();
        DataTrackStats {
            data_track: self.id,
            packets: stats.packets,
            bytes: stats.bytes,
            frames: stats.frames,
            packets_lost: stats.packets_lost,
        }
    }
}

impl DataDownTrack {
    pub(super) fn stats(&self) -> DataDownTrackStats {
        DataDownTrackStats {
            data_down_track: self.id,
            packets: self.packets,
            bytes: self.bytes,
            packets_dropped: self.dropped,
        }
    }
}
