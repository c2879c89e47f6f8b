//! What somebody who can send from the peer's address, and sees nothing, writes into its handshake
//! when the peer's certificate is awaited.

use super::tests::session;
use super::*;

const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const MS: Duration = Duration::from_millis(1);

/// A handshake message in a record of its own (RFC 6347 4.2.2), or a fragment that begins it.
fn record(kind: u8, seq: u16, length: usize, fragment: &[u8]) -> Vec<u8> {
    let mut packet = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0x77, kind];
    packet.extend(((fragment.len() + 12) as u16).to_be_bytes());
    packet.push(kind);
    packet.extend(&(length as u32).to_be_bytes()[1..]);
    packet.extend(seq.to_be_bytes());
    packet.extend([0; 3]);
    packet.extend(&(fragment.len() as u32).to_be_bytes()[1..]);
    packet.extend(fragment);
    packet
}

fn message(kind: u8, seq: u16, body: &[u8]) -> Vec<u8> {
    record(kind, seq, body.len(), body)
}

fn certificate(der: &[u8]) -> Vec<u8> {
    let length = |n: usize| (n as u32).to_be_bytes()[1..].to_vec();
    let mut body = length(if der.is_empty() { 0 } else { der.len() + 3 });
    if !der.is_empty() {
        body.extend(length(der.len()));
        body.extend(der);
    }
    message(CERTIFICATE, 1, &body)
}

fn key_exchange() -> Vec<u8> {
    let mut body = vec![32];
    body.extend([9; 32]);
    message(CLIENT_KEY_EXCHANGE, 2, &body)
}

fn signature() -> Vec<u8> {
    let mut body = vec![4, 3, 0, 72];
    body.extend([0x30; 72]);
    message(CERTIFICATE_VERIFY, 3, &body)
}

/// The records of a datagram, one by one.
fn records(packet: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = packet;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
        records.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    records
}

struct Handshake {
    now: Instant,
    server: Session,
    client: Session,
    peers: DtlsIdentity,
}

impl Handshake {
    /// Up to the server's flight, which the client has not answered yet.
    fn new() -> Self {
        let now = Instant::now();
        let [own, peers] = [(); 2].map(|()| DtlsIdentity::generate().unwrap());
        let mut server = session(now, &own, &peers, false);
        let mut client = session(now, &peers, &own, true);
        let hello = client.packets.pop_front().unwrap();
        server.handle_packet(now, &hello);
        Handshake {
            now,
            server,
            client,
            peers,
        }
    }

    /// The client's certificate flight.
    fn flight(&mut self) -> Vec<Vec<u8>> {
        while let Some(packet) = self.server.packets.pop_front() {
            self.client.handle_packet(self.now, &packet);
        }
        self.client.packets.drain(..).collect()
    }

    fn spoof(&mut self, packets: &[Vec<u8>]) {
        for packet in packets {
            self.server.handle_packet(self.now, packet);
        }
        let state = (self.server.state(), self.server.reason());
        assert_eq!(state, (DtlsState::Connecting, ""));
        assert_eq!(self.server.attempts, 0);
    }

    /// Whether both connect, with the client's retransmissions.
    fn connects(&mut self) -> bool {
        for _ in 0..100 {
            while let Some(packet) = self.client.packets.pop_front() {
                self.server.handle_packet(self.now, &packet);
            }
            while let Some(packet) = self.server.packets.pop_front() {
                self.client.handle_packet(self.now, &packet);
            }
            self.now += 50 * MS;
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
        }
        let states = (self.server.state(), self.client.state());
        states == (DtlsState::Connected, DtlsState::Connected)
    }
}

fn spoofs(peers: &DtlsIdentity) -> Vec<Vec<Vec<u8>>> {
    let foreign = DtlsIdentity::generate().unwrap();
    let foreign = certificate(&foreign.certificate.certificate);
    let known = certificate(&peers.certificate.certificate);
    vec![
        vec![foreign.clone()],
        vec![foreign.clone(), key_exchange(), signature()],
        vec![[foreign, key_exchange(), signature()].concat()],
        // The certificate is no secret in DTLS 1.2.
        vec![known.clone(), key_exchange()],
        vec![known, key_exchange(), signature()],
        vec![certificate(&[])],
        vec![certificate(b"no certificate")],
        vec![key_exchange()],
        vec![signature()],
        // It never becomes complete, or is of another kind.
        vec![record(CERTIFICATE, 1, 60_000, &[7; 40])],
        vec![record(CERTIFICATE, 1, 0xFF_FFFF, &[7; 40])],
        vec![message(CERTIFICATE_VERIFY, 1, &[4, 3, 0, 1, 7])],
        vec![message(CERTIFICATE, 1, &[])],
        // Messages of the future, and no message at all.
        (4..40)
            .map(|seq| message(CERTIFICATE, seq, &[7; 40]))
            .collect(),
        vec![message(99, 3, &[])],
        vec![vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0x77, 1, 0, 2, 7, 7]],
        // ChangeCipherSpec, and what does not decrypt behind it.
        vec![vec![20, 254, 253, 0, 0, 0, 0, 0, 0, 0x77, 2, 0, 1, 1]],
        vec![
            [
                vec![20, 254, 253, 0, 0, 0, 0, 0, 0, 0x77, 2, 0, 1, 1],
                vec![22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 40],
                vec![7; 40],
            ]
            .concat(),
        ],
        vec![
            [
                vec![22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 40],
                vec![7; 40],
            ]
            .concat(),
        ],
    ]
}

/// RFC 6347 4.1.2.7. Row T1.
#[test]
fn what_a_stranger_writes_into_the_peers_flight_is_forgotten() {
    let count = spoofs(&DtlsIdentity::generate().unwrap()).len();
    for which in 0..count {
        // Before the flight; between its records; often.
        for between in [0, 1, 2, 3, 4] {
            let mut handshake = Handshake::new();
            let spoof = spoofs(&handshake.peers).swap_remove(which);
            let flight = handshake.flight();
            let records: Vec<_> = flight.iter().flat_map(|packet| records(packet)).collect();
            for record in &records[..between] {
                handshake.server.handle_packet(handshake.now, record);
            }
            handshake.spoof(&spoof);
            for record in &records[between..] {
                handshake.server.handle_packet(handshake.now, record);
            }
            assert!(handshake.connects(), "{which} after {between}");
        }
    }
}

/// A flight that comes after a stranger's certificate does not wait for its retransmission.
#[test]
fn a_strangers_certificate_costs_no_time() {
    let mut handshake = Handshake::new();
    let flight = handshake.flight();
    let spoof = spoofs(&handshake.peers).swap_remove(0);
    handshake.spoof(&spoof);
    for packet in flight {
        handshake.server.handle_packet(handshake.now, &packet);
    }
    assert_eq!(handshake.server.state(), DtlsState::Connected);
}

/// As long as strangers write, and after many of them.
#[test]
fn many_strangers_do_not_keep_the_peer_out() {
    let mut handshake = Handshake::new();
    let flight = handshake.flight();
    for which in [1, 4, 9] {
        let spoof = spoofs(&handshake.peers).swap_remove(which);
        for _ in 0..200 {
            handshake.spoof(&spoof);
        }
    }
    for packet in flight {
        handshake.server.handle_packet(handshake.now, &packet);
    }
    assert_eq!(handshake.server.state(), DtlsState::Connected);
}

/// Who signs the handshake has seen it: another certificate than the signalled one ends it then.
#[test]
fn a_proven_certificate_that_is_not_the_signalled_one_ends_the_session() {
    let now = Instant::now();
    let [own, peers, others] = [(); 3].map(|()| DtlsIdentity::generate().unwrap());
    let mut server = session(now, &own, &others, false);
    let mut client = session(now, &peers, &own, true);
    while let Some(packet) = client.packets.pop_front() {
        server.handle_packet(now, &packet);
        while let Some(packet) = server.packets.pop_front() {
            client.handle_packet(now, &packet);
        }
    }
    let seen = (server.state(), server.reason());
    let reason = "certificate does not match the fingerprint";
    assert_eq!(seen, (DtlsState::Failed, reason));
}

/// Why nothing came of it is said at the end.
#[test]
fn a_handshake_without_a_certificate_times_out_and_says_so() {
    let mut handshake = Handshake::new();
    handshake.spoof(&[certificate(&[])]);
    handshake.now += HANDSHAKE_TIMEOUT;
    handshake.server.handle_timeout(handshake.now);
    let reason = "handshake timed out: the peer sent no certificate";
    assert_eq!(handshake.server.state(), DtlsState::Failed);
    assert_eq!(handshake.server.reason(), reason);
}

/// The answer to a hello that another one has superseded is for nobody.
#[test]
fn the_answer_to_a_superseded_hello_is_not_sent() {
    let now = Instant::now();
    let [own, peers, foreign] = [(); 3].map(|()| DtlsIdentity::generate().unwrap());
    let mut server = session(now, &own, &peers, false);
    let hello = session(now, &foreign, &own, true).packets.pop_front();
    server.handle_packet(now, &hello.unwrap());
    assert!(!server.packets.is_empty() && !server.take_began_anew());
    let mut client = session(now, &peers, &own, true);
    server.handle_packet(now, &client.packets.pop_front().unwrap());
    assert!(server.take_began_anew() && !server.take_began_anew());
    while let Some(packet) = server.packets.pop_front() {
        client.handle_packet(now, &packet);
    }
    while let Some(packet) = client.packets.pop_front() {
        server.handle_packet(now, &packet);
    }
    assert_eq!(server.state(), DtlsState::Connected);
}
