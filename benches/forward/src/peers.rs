//! Client peers in one thread: each has a socket and a transport of its own, in the client's role.
//!
//! Subscribers count RTP from the plain header; only what ICE and DTLS need is decrypted or answered.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rtp::header::{HeaderFields, write_header};
use transport::{
    CandidatePair, DtlsIdentity, DtlsState, Fingerprint, IceCredentials, LocalCandidate, Protocol,
    RemoteCandidate, RemoteDtls, Transport, TransportConfig, TransportEvent,
};

use crate::net;

/// Longest GSO run that is told apart.
pub const RUN_MAX: usize = 64;

/// Credentials of peer `index` on its own side (`c`) or on the server's (`s`): both processes know them.
pub fn credentials(side: char, index: usize) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{side}{index:07}"),
        pwd: format!("{side}{index:07}{}", "p".repeat(24)),
    }
}

/// A transport in the client's role: it controls, and its DTLS is the client.
pub fn client_transport(
    index: usize,
    address: SocketAddr,
    server: SocketAddr,
    fingerprint: &str,
    identity: &DtlsIdentity,
    now: Instant,
) -> Transport {
    let candidate = LocalCandidate {
        addr: address,
        protocol: Protocol::Udp,
    };
    let mut config = TransportConfig::new(credentials('c', index), vec![candidate]);
    config.controlling = true;
    let mut transport = Transport::new(config, identity, now);
    let remote = RemoteDtls {
        fingerprint: Fingerprint::parse("sha-256", fingerprint).expect("the server's own text"),
        role_is_client: false,
    };
    transport
        .set_remote(now, credentials('s', index), &remote)
        .expect("fixed credentials are valid");
    transport.add_remote_candidate(
        now,
        &RemoteCandidate {
            addr: server,
            protocol: Protocol::Udp,
            priority: 2_130_706_431,
            foundation: "1".into(),
            kind: "host".into(),
        },
    );
    transport
}

/// Whether a datagram is RTP: RTCP payload types are 192 to 223 with the marker bit (RFC 5761 4).
pub fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, kind, ..] if !(192..=223).contains(kind))
}

/// One peer connection.
pub struct Peer {
    transport: Transport,
    address: SocketAddr,
    connected: bool,
    /// RTP packets received.
    pub packets: u64,
    /// Lengths of the GSO runs that arrived, as seen by GRO.
    pub runs: [u64; RUN_MAX + 1],
}

/// All peers and their sockets.
pub struct Peers {
    pub peers: Vec<Peer>,
    sockets: Vec<UdpSocket>,
    poll: net::Poll,
    batch: net::ReceiveBatch,
    server: SocketAddrV4,
    scratch: Vec<u8>,
}

impl Peers {
    /// Starts `count` peers towards `server`, whose certificate has `fingerprint`.
    pub fn start(
        count: usize,
        server: SocketAddrV4,
        fingerprint: &str,
        identity: &DtlsIdentity,
    ) -> Self {
        let now = Instant::now();
        let sockets: Vec<UdpSocket> = (0..count).map(|_| net::bind()).collect();
        let peers = sockets
            .iter()
            .enumerate()
            .map(|(index, socket)| {
                let address = SocketAddr::V4(net::address(socket));
                let server = SocketAddr::V4(server);
                Peer {
                    transport: client_transport(index, address, server, fingerprint, identity, now),
                    address,
                    connected: false,
                    packets: 0,
                    runs: [0; RUN_MAX + 1],
                }
            })
            .collect();
        Peers {
            peers,
            poll: net::Poll::new(&sockets),
            sockets,
            batch: net::ReceiveBatch::new(),
            server,
            scratch: vec![0; 64 * 1500],
        }
    }

    /// Runs until all are connected, or panics after `timeout`.
    pub fn connect(&mut self, timeout: Duration) {
        let end = Instant::now() + timeout;
        while !self.peers.iter().all(|peer| peer.connected) {
            self.turn(Duration::from_millis(5));
            assert!(
                Instant::now() < end,
                "the peers did not connect within {timeout:?}"
            );
        }
    }

    /// Handles what arrives and what is due within `wait`.
    pub fn turn(&mut self, wait: Duration) {
        for index in self.poll.wait(wait.as_millis() as i32) {
            while self.batch.receive(&self.sockets[index]) > 0 {
                let now = Instant::now();
                let peer = &mut self.peers[index];
                for (bytes, size, from) in self.batch.messages() {
                    peer.receive(now, bytes, size, SocketAddr::V4(from));
                }
            }
        }
        let now = Instant::now();
        for (peer, socket) in self.peers.iter_mut().zip(&self.sockets) {
            peer.drive(now, socket);
        }
    }

    /// Publishes `count` packets of one frame from peer 0 in one GSO run.
    pub fn publish(&mut self, stream: &mut Stream, count: usize) {
        let mut at = 0;
        let mut size = 0;
        for index in 0..count {
            let room = &mut self.scratch[at..at + 1500];
            let plain = stream.write(room, index == 0, index + 1 == count);
            let srtp = self.peers[0].transport.srtp_tx().expect("connected");
            size = srtp
                .protect_rtp(room, plain.0, plain.1)
                .expect("the packet fits");
            at += size;
        }
        let fd = self.sockets[0].as_raw_fd();
        net::send_gso(fd, &self.scratch[..at], size as u16, self.server);
    }
}

impl Peer {
    fn receive(&mut self, now: Instant, bytes: &[u8], size: usize, from: SocketAddr) {
        match bytes.first() {
            Some(128..=191) => {
                if is_media(bytes) {
                    let run = bytes.len().div_ceil(size);
                    self.packets += run as u64;
                    self.runs[run.min(RUN_MAX)] += 1;
                }
            }
            _ => {
                let pair = CandidatePair {
                    local: self.address,
                    remote: from,
                    protocol: Protocol::Udp,
                };
                for datagram in bytes.chunks(size) {
                    if datagram[0] < 4 {
                        self.transport.handle_stun(now, pair, datagram);
                    } else {
                        // From elsewhere than the server it is nothing to a bench.
                        let _ = self.transport.handle_dtls(now, pair, datagram);
                    }
                }
            }
        }
    }

    fn drive(&mut self, now: Instant, socket: &UdpSocket) {
        if self.transport.next_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
        while let Some(transmit) = self.transport.poll_transmit() {
            // A datagram that the kernel refuses is a lost one.
            let _ = socket.send_to(&transmit.bytes, transmit.remote);
        }
        while let Some(event) = self.transport.poll_event() {
            match event {
                TransportEvent::Dtls {
                    state: DtlsState::Connected,
                    ..
                } => self.connected = true,
                TransportEvent::Dtls {
                    state: DtlsState::Failed,
                    reason,
                    ..
                } => panic!("DTLS failed: {reason}"),
                _ => {}
            }
        }
    }
}

/// A VP8 stream with valid descriptors and a key frame every hundred frames.
pub struct Stream {
    pub ssrc: u32,
    pub mid: String,
    payload_len: usize,
    sequence: u16,
    timestamp: u32,
    picture: u16,
    transport_sequence: u16,
}

/// Header extension ids that the bench negotiates.
pub const MID: u8 = 1;
pub const TRANSPORT_CC: u8 = 2;
pub const ABS_SEND_TIME: u8 = 3;

impl Stream {
    /// A stream of packets with `payload_len` bytes of payload in the media section `mid`.
    pub fn new(ssrc: u32, mid: String, payload_len: usize) -> Self {
        Stream {
            ssrc,
            mid,
            payload_len,
            sequence: 1,
            timestamp: 0,
            picture: 0,
            transport_sequence: 0,
        }
    }

    /// Writes the next packet and returns the lengths of its header and of all of it.
    pub fn write(&mut self, buffer: &mut [u8], first: bool, last: bool) -> (usize, usize) {
        if first {
            self.timestamp = self.timestamp.wrapping_add(3000);
            self.picture = (self.picture + 1) & 0x7fff;
        }
        let fields = HeaderFields {
            marker: last,
            payload_type: 96,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            csrcs: &[],
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let transport_sequence = self.transport_sequence.to_be_bytes();
        let extensions = [
            (MID, self.mid.as_bytes()),
            (TRANSPORT_CC, transport_sequence.as_slice()),
        ];
        let header = write_header(buffer, &fields, extensions).expect("the buffer is large enough");
        let payload = &mut buffer[header..header + self.payload_len];
        payload.fill(0x5a);
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        // RFC 7741 4.2: X and S; I, L and T; 15-bit picture id; TL0PICIDX; TID 0.
        payload[..6].copy_from_slice(&[
            0x80 | u8::from(first) << 4,
            0xe0,
            high,
            low,
            self.picture as u8,
            0,
        ]);
        if first {
            // RFC 7741 4.3: the P bit is 0 in a key frame, which begins with its start code and size.
            let key = self.picture % 100 == 1;
            payload[6] = u8::from(!key);
            if key {
                payload[9..16].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
            }
        }
        (header, header + self.payload_len)
    }
}
