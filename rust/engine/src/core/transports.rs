//! Transports: commands about them, what they say, and their end.

use std::net::IpAddr;
use std::time::Instant;

use rtp::srtp::SrtpProfile;
use sfu::StreamAllocator;
use transport::{
    DtlsState, Fingerprint, IceCredentials, IceState, Protocol, RemoteCandidate, RemoteDtls,
    Transport, TransportConfig, TransportError, TransportEvent, stun,
};

use super::connection::{ChannelKind, Connection};
use super::drops::Drop;
use super::table::Index;
use super::timers::Task;
use super::{Core, not_found};
use crate::api::{
    Candidate, Code, DtlsParameters, DtlsRole, EngineError, Event, IceParameters, Id,
};

type Outcome = Result<(), EngineError>;

impl Core {
    pub(super) fn create_transport(
        &mut self,
        now: Instant,
        id: Id,
        ice: &IceParameters,
        ice_lite: bool,
        controlling: bool,
    ) -> Outcome {
        if self.connections.find(id).is_some() {
            return Ok(());
        }
        self.check_ufrag(&ice.ufrag, None)?;
        let config = TransportConfig {
            ice_lite,
            controlling,
            disconnected_after: self.config.ice_disconnected,
            failed_after: self.config.ice_failed,
            channel_buffer: self.config.data_channel_buffer,
            ..TransportConfig::new(credentials(ice), self.local_candidates.clone())
        };
        let mut transport = Transport::new(config, &self.identity, now);
        transport.pause_data(now, self.data_paused);
        let (enabled, config) = (self.config.congestion_control, self.config.allocator);
        let allocator = StreamAllocator::with_config(now, enabled, false, config);
        let connection = Connection::new(now, id, transport, allocator);
        let index = self.connections.insert(id, connection);
        self.follow_ufrags(index);
        self.pump(now, index);
        Ok(())
    }

    pub(super) fn set_remote_parameters(
        &mut self,
        now: Instant,
        id: Id,
        ice: &IceParameters,
        dtls: &DtlsParameters,
    ) -> Outcome {
        let fingerprint =
            Fingerprint::parse(&dtls.algorithm, &dtls.fingerprint).map_err(invalid)?;
        let remote = RemoteDtls {
            fingerprint,
            role_is_client: dtls.role == DtlsRole::Server,
        };
        self.with_transport(now, id, |transport| {
            transport.set_remote(now, credentials(ice), &remote)
        })
    }

    pub(super) fn restart_ice(&mut self, now: Instant, id: Id, ice: &IceParameters) -> Outcome {
        let index = self.find_connection(id)?;
        self.check_ufrag(&ice.ufrag, Some(index))?;
        self.with_transport(now, id, |transport| {
            transport.restart_ice(now, credentials(ice))
        })?;
        // During a restart checks with the ufrag before it still arrive.
        self.follow_ufrags(index);
        Ok(())
    }

    /// An mDNS name is ignored: it means something on the peer's own network only.
    pub(super) fn add_remote_candidate(
        &mut self,
        now: Instant,
        id: Id,
        candidate: &Candidate,
    ) -> Outcome {
        let protocol = match candidate.protocol.as_str() {
            "udp" => Protocol::Udp,
            "tcp" => Protocol::Tcp,
            other => {
                let message = format!("candidate protocol {other:?} is neither udp nor tcp");
                return Err(EngineError::new(Code::InvalidArgument, message));
            }
        };
        if candidate.address.ends_with(".local") {
            return self.find_connection(id).map(drop);
        }
        let Ok(ip) = candidate.address.parse::<IpAddr>() else {
            let message = format!("candidate address {:?} is no IP address", candidate.address);
            return Err(EngineError::new(Code::InvalidArgument, message));
        };
        let remote = RemoteCandidate {
            addr: (ip, candidate.port).into(),
            protocol,
            priority: candidate.priority,
            foundation: candidate.foundation.clone(),
            kind: candidate.kind.clone(),
        };
        self.with_transport(now, id, |transport| {
            transport.add_remote_candidate(now, &remote);
            Ok(())
        })
    }

    /// Leaves incoming data messages with their senders, or takes them again.
    pub fn set_data_paused(&mut self, now: Instant, paused: bool) {
        if paused == self.data_paused {
            return;
        }
        self.data_paused = paused;
        let ids: Vec<_> = self.connections.ids().collect();
        for id in ids {
            // What fails has been reported by then.
            let _ = self.with_transport(now, id, |transport| {
                transport.pause_data(now, paused);
                Ok(())
            });
        }
        self.forward_data_packets(now);
    }

    /// Closes a transport with all that is on it. The peer is told as far as it can be reached.
    pub(super) fn close_connection(&mut self, now: Instant, id: Id) {
        let Some(index) = self.connections.find(id) else {
            return;
        };
        #[cfg(test)]
        self.maybe_panic(super::guard::Point::Close(id));
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        // Nothing is handed out any more.
        connection.allocator = StreamAllocator::new(now, false, false);
        let down_tracks = std::mem::take(&mut connection.down_tracks);
        let receivers = std::mem::take(&mut connection.receivers);
        self.send_bye(index, &down_tracks);
        for at in down_tracks {
            if let Some(id) = self
                .subscriptions
                .get(at)
                .map(|subscription| subscription.id)
            {
                self.close_down_track(now, id);
            }
        }
        for at in receivers {
            if let Some(id) = self.sources.get(at).map(|source| source.id) {
                self.close_receiver(now, id);
            }
        }
        self.close_data_tracks_of(index);
        let Some(mut connection) = self.connections.remove(id) else {
            return;
        };
        self.forget_addresses(index, &connection);
        connection.transport.close(now);
        while let Some(transmit) = connection.transport.poll_transmit() {
            self.egress.push(transmit.pair(), &transmit.bytes);
        }
    }

    /// The timer of a transport.
    pub(super) fn run_transport(&mut self, now: Instant, at: Instant, id: Id) {
        let Some(index) = self.connections.find(id) else {
            return;
        };
        let connection = self.connections.get_mut(index);
        if !connection.is_some_and(|connection| connection.timer.fire(at)) {
            return;
        }
        self.guard(now, id, |core| {
            if let Some(connection) = core.connections.get_mut(index) {
                connection.transport.handle_timeout(now);
                let given_up = connection.held.expire(now);
                (0..given_up).for_each(|_| core.drops.count(Drop::NoReceiver));
            }
            core.pump(now, index);
        });
        self.attribute_drops(Some(index));
    }

    /// Carries out what a transport has put out: events, datagrams, its next deadline.
    pub(super) fn pump(&mut self, now: Instant, index: Index) {
        while let Some(connection) = self.connections.get_mut(index) {
            let id = connection.id;
            let Some(event) = connection.transport.poll_event() else {
                break;
            };
            self.take_event(id, index, event);
        }
        while let Some(connection) = self.connections.get_mut(index) {
            let Some(transmit) = connection.transport.poll_transmit() else {
                break;
            };
            connection.sent.packets += 1;
            connection.sent.bytes += transmit.bytes.len() as u64;
            if stun::is_binding_request(&transmit.bytes) {
                self.expect_answers(now, index, transmit.pair());
            }
            self.egress.push(transmit.pair(), &transmit.bytes);
        }
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let can_send =
            connection.transport.send_to().is_some() && connection.transport.srtp_tx().is_some();
        let sendability_changed = can_send != connection.can_send;
        connection.can_send = can_send;
        let rtt = connection.transport.rtt();
        let rtt_changed = rtt != connection.rtt;
        connection.rtt = rtt;
        let deadline = connection.transport.next_timeout();
        let deadline = deadline.map(|deadline| self.timers.with_slack(now, deadline));
        let task = Task::Transport(connection.id);
        self.timers.arm(task, &mut connection.timer, deadline);
        if sendability_changed {
            self.connect_down_tracks(now, index, can_send);
        }
        if rtt_changed {
            self.spread_rtt(index);
        }
    }

    fn take_event(&mut self, id: Id, index: Index, event: TransportEvent) {
        let event = match event {
            TransportEvent::Ice { state, pair } => {
                if let Some(connection) = self.connections.get_mut(index) {
                    connection.ice_state = state;
                }
                let (local, remote, protocol) = match pair {
                    Some(pair) if state != IceState::New => (
                        pair.local.to_string(),
                        pair.remote.to_string(),
                        pair.protocol.as_str(),
                    ),
                    _ => (String::new(), String::new(), ""),
                };
                Event::IceStateChanged {
                    transport: id,
                    state,
                    local,
                    remote,
                    protocol,
                }
            }
            TransportEvent::Dtls {
                state,
                profile,
                reason,
            } => {
                let profile = profile.filter(|_| state == DtlsState::Connected);
                Event::DtlsStateChanged {
                    transport: id,
                    state,
                    srtp_profile: profile.map_or("", profile_name),
                    reason,
                }
            }
            TransportEvent::ChannelOpened {
                stream_id,
                label,
                protocol,
                ordered,
                max_retransmits,
                max_packet_life_time,
            } => {
                // A bounded life time makes a channel lossy as well; of that the control plane has
                // no notion, so it sees the strictest bound on retransmissions.
                let max_retransmits = max_retransmits.or(max_packet_life_time.map(|_| 0));
                self.channel_opened(index, stream_id, &label, max_retransmits);
                Event::DataChannelOpened {
                    transport: id,
                    stream_id,
                    label,
                    protocol,
                    ordered,
                    max_retransmits,
                }
            }
            TransportEvent::ChannelClosed { stream_id } => {
                self.channel_closed(index, stream_id);
                Event::DataChannelClosed {
                    transport: id,
                    stream_id,
                }
            }
            TransportEvent::Data {
                stream_id,
                bytes,
                binary,
            } => {
                if self.channel_kind(index, stream_id) == Some(ChannelKind::DataTrack) {
                    return self.data_packets.push((id, bytes));
                }
                Event::DataReceived {
                    transport: id,
                    stream_id,
                    payload: bytes,
                    binary,
                }
            }
        };
        self.events.push(event);
    }

    /// Tells a transport's tracks how long its round trip is.
    fn spread_rtt(&mut self, index: Index) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let Some(rtt) = connection.rtt else { return };
        connection.allocator.set_rtt(rtt);
        for &at in &connection.receivers {
            if let Some(source) = self.sources.get_mut(at) {
                source.receiver.set_rtt(rtt);
            }
        }
        for &at in &connection.down_tracks {
            if let Some(subscription) = self.subscriptions.get_mut(at) {
                subscription.track.set_rtt(rtt);
            }
        }
    }

    /// Runs `change` on a transport, and then what follows from it.
    pub(super) fn with_transport(
        &mut self,
        now: Instant,
        id: Id,
        change: impl FnOnce(&mut Transport) -> Result<(), TransportError>,
    ) -> Outcome {
        let index = self.find_connection(id)?;
        let outcome = self.guard(now, id, |core| {
            let connection = core.connections.get_mut(index)?;
            let outcome = change(&mut connection.transport);
            core.pump(now, index);
            Some(outcome)
        });
        match outcome.flatten() {
            Some(outcome) => outcome.map_err(invalid),
            None => Err(not_found("transport", id)),
        }
    }

    pub(super) fn find_connection(&self, id: Id) -> Result<Index, EngineError> {
        self.connections
            .find(id)
            .ok_or_else(|| not_found("transport", id))
    }

    /// Two transports with one ufrag could not be told apart.
    fn check_ufrag(&self, ufrag: &str, own: Option<Index>) -> Outcome {
        match self.ufrags.get(ufrag) {
            Some(owner) if Some(*owner) != own => Err(EngineError::new(
                Code::InvalidArgument,
                format!("ICE ufrag {ufrag:?} is in use by another transport"),
            )),
            _ => Ok(()),
        }
    }
}

fn credentials(ice: &IceParameters) -> IceCredentials {
    IceCredentials {
        ufrag: ice.ufrag.clone(),
        pwd: ice.pwd.clone(),
    }
}

fn invalid(error: TransportError) -> EngineError {
    let code = match error {
        TransportError::Closed => Code::FailedPrecondition,
        TransportError::Channel(_) => Code::ResourceExhausted,
        TransportError::IceCredentials
        | TransportError::Fingerprint(_)
        | TransportError::Certificate => Code::InvalidArgument,
    };
    EngineError::new(code, error.to_string())
}

/// The name in IANA's registry of SRTP crypto suites, as in WebRTC's `srtpCipher` statistic.
const fn profile_name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}
