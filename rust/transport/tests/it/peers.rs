//! The peers of the tests: ours, with a driver like the engine's around it, and how calls are set up.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

use lkpy_transport::{
    CandidatePair, ChannelOptions, DtlsIdentity, DtlsState, IceCredentials, IceState,
    LocalCandidate, Protocol, RemoteCandidate, RemoteDtls, StunOutcome, Transport, TransportConfig,
    TransportEvent,
};

use crate::network::Datagram;
use crate::str0m_peer::Str0m;

pub trait Peer {
    fn address(&self) -> SocketAddr;
    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: Vec<u8>);
    fn next_timeout(&mut self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Instant);
    fn poll_transmit(&mut self, now: Instant) -> Option<Datagram>;
}

pub static IDENTITY: LazyLock<DtlsIdentity> = LazyLock::new(|| DtlsIdentity::generate().unwrap());

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{name}frag"),
        pwd: format!("{name}-password-of-22-chars"),
    }
}

pub fn host(addr: SocketAddr) -> RemoteCandidate {
    RemoteCandidate {
        addr,
        protocol: Protocol::Udp,
        priority: 2_130_706_431,
        foundation: "1".into(),
        kind: "host".into(),
    }
}

/// Our transport with what the engine does around it.
pub struct Ours {
    pub transport: Transport,
    pub address: SocketAddr,
    /// What its packets are said to have come by.
    pub protocol: Protocol,
    pub identity: DtlsIdentity,
    pub events: Vec<(Instant, TransportEvent)>,
    /// Plain RTP that was received.
    pub rtp: Vec<Vec<u8>>,
    /// From where STUN was accepted.
    pub met: HashSet<SocketAddr>,
    /// STUN that was refused.
    pub refused: usize,
    /// STUN from which nothing followed.
    pub ignored: usize,
    /// Everything else from sources that are not valid.
    pub dropped: usize,
    outbox: VecDeque<Datagram>,
    now: Instant,
}

impl Ours {
    pub fn new(
        now: Instant,
        address: SocketAddr,
        name: &str,
        change: impl FnOnce(&mut TransportConfig),
    ) -> Self {
        let candidate = LocalCandidate {
            addr: address,
            protocol: Protocol::Udp,
        };
        let mut config = TransportConfig::new(credentials(name), vec![candidate]);
        change(&mut config);
        Ours {
            transport: Transport::new(config, &IDENTITY, now),
            address,
            protocol: Protocol::Udp,
            identity: IDENTITY.clone(),
            events: Vec::new(),
            rtp: Vec::new(),
            met: HashSet::new(),
            refused: 0,
            ignored: 0,
            dropped: 0,
            outbox: VecDeque::new(),
            now,
        }
    }

    pub fn open(&mut self, now: Instant, label: &str, ordered: bool, max_retransmits: Option<u16>) {
        let options = ChannelOptions {
            label: label.into(),
            protocol: String::new(),
            ordered,
            max_retransmits,
            negotiated: None,
        };
        self.transport.open_channel(now, options).unwrap();
        self.collect(now);
    }

    /// Between us and somebody at `remote`.
    pub fn pair(&self, remote: SocketAddr) -> CandidatePair {
        CandidatePair {
            local: self.address,
            remote,
            protocol: self.protocol,
        }
    }

    /// Whether media from `remote` is looked at.
    pub fn is_valid_source(&self, now: Instant, remote: SocketAddr) -> bool {
        let pair = self.pair(remote);
        self.transport.check_source(now, pair).is_ok()
    }

    /// The time of the last call.
    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn collect(&mut self, now: Instant) {
        self.now = now;
        while let Some(event) = self.transport.poll_event() {
            self.events.push((now, event));
        }
    }

    pub fn ice_states(&self) -> Vec<IceState> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                TransportEvent::Ice { state, .. } => Some(*state),
                _ => None,
            })
            .collect()
    }

    /// When the last change to `state` was reported.
    pub fn ice_at(&self, state: IceState) -> Option<Instant> {
        self.events
            .iter()
            .rev()
            .find_map(|(at, event)| match event {
                TransportEvent::Ice { state: s, .. } if *s == state => Some(*at),
                _ => None,
            })
    }

    pub fn dtls(&self) -> Option<DtlsState> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            TransportEvent::Dtls { state, .. } => Some(*state),
            _ => None,
        })
    }

    pub fn connected(&self) -> bool {
        self.dtls() == Some(DtlsState::Connected) && self.transport.send_to().is_some()
    }

    pub fn remote(&self) -> Option<SocketAddr> {
        self.transport
            .send_to()
            .map(|pair: CandidatePair| pair.remote)
    }

    /// Streams of the channels that were opened with this label.
    pub fn channel(&self, name: &str) -> Option<u16> {
        self.events.iter().find_map(|(_, event)| match event {
            TransportEvent::ChannelOpened {
                stream_id, label, ..
            } if label == name => Some(*stream_id),
            _ => None,
        })
    }

    pub fn messages(&self, stream: u16) -> Vec<&[u8]> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                TransportEvent::Data {
                    stream_id, bytes, ..
                } if *stream_id == stream => Some(&bytes[..]),
                _ => None,
            })
            .collect()
    }

    /// Protects and sends an RTP packet as the engine would.
    pub fn send_rtp(&mut self, mut packet: Vec<u8>) {
        let Some(pair) = self.transport.send_to() else {
            return;
        };
        let plain = packet.len();
        packet.resize(plain + 32, 0);
        let context = self.transport.srtp_tx().unwrap();
        let length = context.protect_rtp(&mut packet, 12, plain).unwrap();
        packet.truncate(length);
        self.outbox.push_back(Datagram {
            from: pair.local,
            to: pair.remote,
            bytes: packet,
        });
    }
}

impl Peer for Ours {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, mut bytes: Vec<u8>) {
        let pair = self.pair(from);
        let transport = &mut self.transport;
        match bytes.first() {
            Some(0..=3) => match transport.handle_stun(now, pair, &bytes) {
                StunOutcome::Refused => self.refused += 1,
                StunOutcome::Ignored => self.ignored += 1,
                StunOutcome::Accepted => drop(self.met.insert(from)),
            },
            Some(20..=63) => {
                let taken = transport.handle_dtls(now, pair, &bytes);
                self.dropped += usize::from(taken.is_err());
            }
            _ if transport.check_source(now, pair).is_err() => self.dropped += 1,
            Some(128..=191) if bytes.len() > 1 && !(192..=223).contains(&bytes[1]) => {
                if let Some(context) = transport.srtp_rx()
                    && let Ok(length) = context.unprotect_rtp(&mut bytes)
                {
                    bytes.truncate(length);
                    self.rtp.push(bytes);
                    transport.note_received(now, pair);
                }
            }
            _ => {}
        }
        self.collect(now);
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.transport.next_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        self.collect(now);
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Datagram> {
        self.collect(now);
        if let Some(transmit) = self.transport.poll_transmit() {
            return Some(Datagram {
                from: transmit.local,
                to: transmit.remote,
                bytes: transmit.bytes,
            });
        }
        self.outbox.pop_front()
    }
}

/// How the peers of a call are set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub lite: bool,
    pub controlling: bool,
    /// We are the DTLS client.
    pub dtls_client: bool,
}

impl Setup {
    /// As LiveKit's answerer that answers passive: controlled, DTLS server.
    pub const ANSWERER: Setup = Setup {
        lite: false,
        controlling: false,
        dtls_client: false,
    };
    pub const LITE: Setup = Setup {
        lite: true,
        ..Setup::ANSWERER
    };
    pub const OFFERER: Setup = Setup {
        controlling: true,
        ..Setup::ANSWERER
    };
}

pub const OUR_ADDRESS: &str = "192.0.2.1:7882";
pub const THEIR_ADDRESS: &str = "198.51.100.2:2000";
pub const SSRC_FROM_US: u32 = 1_000;
pub const SSRC_FROM_THEM: u32 = 2_000;

/// Ours and str0m, signalled to each other but with no packet exchanged.
pub fn with_str0m(now: Instant, setup: Setup) -> (Ours, Str0m) {
    let mut ours = Ours::new(now, addr(OUR_ADDRESS), "ours", |config| {
        config.ice_lite = setup.lite;
        config.controlling = setup.controlling;
    });
    let mut theirs = Str0m::new(now, addr(THEIR_ADDRESS));
    theirs.call(&ours, setup);
    let dtls = RemoteDtls {
        fingerprint: theirs.fingerprint(),
        role_is_client: !setup.dtls_client,
    };
    let creds = theirs.credentials();
    ours.transport.set_remote(now, creds, &dtls).unwrap();
    let candidate = host(theirs.address);
    ours.transport.add_remote_candidate(now, &candidate);
    (ours, theirs)
}

/// Two of ours: a server set up as `setup` says, and a client.
pub fn both_ours(now: Instant, setup: Setup) -> (Ours, Ours) {
    let mut server = Ours::new(now, addr(OUR_ADDRESS), "server", |config| {
        config.ice_lite = setup.lite;
        config.controlling = setup.controlling;
    });
    let mut client = Ours::new(now, addr(THEIR_ADDRESS), "client", |config| {
        config.controlling = !setup.controlling;
    });
    let dtls = |role_is_client| RemoteDtls {
        fingerprint: IDENTITY.fingerprint().clone(),
        role_is_client,
    };
    let candidate = host(client.address);
    let server_dtls = dtls(!setup.dtls_client);
    server
        .transport
        .set_remote(now, credentials("client"), &server_dtls)
        .unwrap();
    server.transport.add_remote_candidate(now, &candidate);
    client
        .transport
        .set_remote(now, credentials("server"), &dtls(setup.dtls_client))
        .unwrap();
    client
        .transport
        .add_remote_candidate(now, &host(server.address));
    (server, client)
}
