//! An independent peer: str0m as a client.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Once;
use std::time::{Duration, Instant};

use lkpy_transport::{Fingerprint, IceCredentials};
use str0m::change::DirectApi;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use crate::network::Datagram;
use crate::peers::{Ours, Peer, SSRC_FROM_THEM, SSRC_FROM_US, Setup, credentials};

/// A str0m client.
pub struct Str0m {
    pub rtc: Rtc,
    pub address: SocketAddr,
    pub events: Vec<(Instant, Event)>,
    deadline: Instant,
    outbox: VecDeque<Datagram>,
}

impl Str0m {
    pub fn new(now: Instant, address: SocketAddr) -> Self {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| str0m::crypto::from_feature_flags().install_process_default());
        let mut rtc = RtcConfig::new().set_rtp_mode(true).build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Str0m {
            rtc,
            address,
            events: Vec::new(),
            deadline: now,
            outbox: VecDeque::new(),
        }
    }

    pub fn api(&mut self) -> DirectApi<'_> {
        self.rtc.direct_api()
    }

    pub fn credentials(&mut self) -> IceCredentials {
        let creds = self.api().local_ice_credentials();
        IceCredentials {
            ufrag: creds.ufrag,
            pwd: creds.pass,
        }
    }

    /// Takes what the signalling would have brought from `peer`.
    pub fn call(&mut self, peer: &Ours, setup: Setup) {
        let ours = credentials("ours");
        let candidate = Candidate::host(peer.address, "udp").unwrap();
        self.rtc.add_remote_candidate(candidate);
        let fingerprint = format!("sha-256 {}", peer.identity.fingerprint());
        let mut api = self.api();
        api.set_remote_fingerprint(fingerprint.parse().unwrap());
        api.set_remote_ice_credentials(IceCreds {
            ufrag: ours.ufrag,
            pass: ours.pwd,
        });
        api.set_ice_controlling(!setup.controlling);
        api.start_dtls(!setup.dtls_client).unwrap();
        api.start_sctp(!setup.dtls_client);
        api.declare_media("aud".into(), MediaKind::Audio);
        api.declare_stream_tx(SSRC_FROM_THEM.into(), None, "aud".into(), None);
        api.expect_stream_rx(SSRC_FROM_US.into(), None, "aud".into(), None);
    }

    pub fn fingerprint(&mut self) -> Fingerprint {
        let text = self.api().local_dtls_fingerprint().to_string();
        let (algorithm, value) = text.split_once(' ').unwrap();
        Fingerprint::parse(algorithm, value).unwrap()
    }

    /// Opens a channel by DCEP.
    pub fn open(&mut self, label: &str, ordered: bool, reliability: Reliability) -> ChannelId {
        self.api().create_data_channel(ChannelConfig {
            label: label.into(),
            ordered,
            reliability,
            negotiated: None,
            protocol: String::new(),
        })
    }

    pub fn opened(&self, name: &str) -> Option<ChannelId> {
        self.events.iter().find_map(|(_, event)| match event {
            Event::ChannelOpen(id, label) if label == name => Some(*id),
            _ => None,
        })
    }

    pub fn messages(&self, channel: ChannelId) -> Vec<&[u8]> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::ChannelData(data) if data.id == channel => Some(&data.data[..]),
                _ => None,
            })
            .collect()
    }

    pub fn rtp(&self) -> Vec<(u16, Vec<u8>)> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::RtpPacket(packet) => Some((
                    packet.header.sequence_number,
                    packet.payload.clone().to_vec(),
                )),
                _ => None,
            })
            .collect()
    }

    fn poll(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at.max(now);
                    break;
                }
                Ok(Output::Transmit(transmit)) => self.outbox.push_back(Datagram {
                    from: transmit.source,
                    to: transmit.destination,
                    bytes: transmit.contents.to_vec(),
                }),
                Ok(Output::Event(event)) => self.events.push((now, event)),
                Err(_) => {
                    self.rtc.disconnect();
                    break;
                }
            }
        }
    }

    fn input(&mut self, now: Instant, input: Input<'_>) {
        if self.rtc.is_alive() {
            if self.rtc.handle_input(input).is_err() {
                self.rtc.disconnect();
            }
            self.poll(now);
        }
    }
}

impl Peer for Str0m {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: Vec<u8>) {
        self.input(now, Input::Timeout(now));
        if let Ok(contents) = bytes.as_slice().try_into() {
            let receive = Receive {
                proto: Protocol::Udp,
                source: from,
                destination: self.address,
                contents,
            };
            self.input(now, Input::Receive(now, receive));
        }
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.rtc.is_alive().then_some(self.deadline)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.input(now, Input::Timeout(now));
        // A deadline that has passed means "soon": let some time go by.
        if self.deadline <= now {
            self.deadline = now + Duration::from_millis(1);
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Datagram> {
        if self.outbox.is_empty() && self.rtc.is_alive() {
            self.poll(now);
            if self.deadline <= now {
                self.deadline = now + Duration::from_millis(1);
            }
        }
        self.outbox.pop_front()
    }
}
