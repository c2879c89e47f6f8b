use super::*;

pub(super) fn session(
    now: Instant,
    own: &DtlsIdentity,
    remote: &DtlsIdentity,
    is_client: bool,
) -> Session {
    let remote = RemoteDtls {
        fingerprint: remote.fingerprint().clone(),
        role_is_client: !is_client,
    };
    let mut session = Session::new(own, &remote, now);
    session.start(now);
    session
}

/// A hello of somebody else, records that might belong to its handshake, then the peer's hello.
#[test]
fn records_behind_the_hello_of_somebody_else_do_not_bind_the_server_to_it() {
    let now = Instant::now();
    let identities = [(); 3].map(|()| DtlsIdentity::generate().unwrap());
    let [own, peers, foreign] = &identities;
    for seed in 0..50_u8 {
        let mut server = session(now, own, peers, false);
        let mut client = session(now, peers, own, true);
        let foreign_hello = session(now, foreign, own, true).packets.pop_front();
        server.handle_packet(now, &foreign_hello.unwrap());
        assert!(!server.packets.is_empty());
        let (kind, epoch, len) = ([20, 22, 23][usize::from(seed % 3)], seed % 2, 20 + seed);
        let mut record = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 9, 0, len];
        record.extend((0..len).map(|at| at.wrapping_mul(2 * seed + 3) ^ 0x55));
        assert_eq!(First::of(&record), First::Other);
        server.handle_packet(now, &record);
        // The peer sees no answer to what it has not sent.
        server.packets.clear();
        while let Some(packet) = client.packets.pop_front() {
            server.handle_packet(now, &packet);
            while let Some(packet) = server.packets.pop_front() {
                client.handle_packet(now, &packet);
            }
        }
        let states = (server.state(), client.state());
        assert_eq!(
            states,
            (DtlsState::Connected, DtlsState::Connected),
            "{seed}"
        );
    }
}

/// Once the peer has shown its certificate, nobody else's hello takes its place.
#[test]
fn a_hello_of_somebody_else_does_not_end_what_the_peer_goes_on_with() {
    let now = Instant::now();
    let identities = [(); 3].map(|()| DtlsIdentity::generate().unwrap());
    let [own, peers, foreign] = &identities;
    let mut server = session(now, own, peers, false);
    let mut client = session(now, peers, own, true);
    let mut foreign_hellos = 0;
    while let Some(packet) = client.packets.pop_front() {
        // Each record by itself, so that the certificate does not come with all the rest.
        let mut rest = &packet[..];
        while !rest.is_empty() {
            let len = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
            server.handle_packet(now, &rest[..len]);
            rest = &rest[len..];
            if server.certificate_verified && server.state() == DtlsState::Connecting {
                let foreign_hello = session(now, foreign, own, true).packets.pop_front();
                server.handle_packet(now, &foreign_hello.unwrap());
                foreign_hellos += 1;
            }
        }
        while let Some(packet) = server.packets.pop_front() {
            client.handle_packet(now, &packet);
        }
    }
    let states = (server.state(), client.state());
    assert_eq!(states, (DtlsState::Connected, DtlsState::Connected));
    assert!(foreign_hellos > 0 && server.attempts == 0);
}
