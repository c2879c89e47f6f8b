use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use transport::{DtlsState, IceState};

use super::MS;
use super::world::{SERVER, World, receiver, server_ice};
use crate::api::{
    Candidate, Code, Command, DtlsParameters, DtlsRole, Event, IceParameters, Id, MediaKind,
};

fn ice_states(world: &World, id: Id) -> Vec<IceState> {
    let states = world.events.iter().filter_map(|event| match event {
        Event::IceStateChanged {
            transport, state, ..
        } if *transport == id => Some(*state),
        _ => None,
    });
    states.collect()
}

#[test]
fn lite_and_full_transports_connect() {
    for ice_lite in [true, false] {
        let mut world = World::new();
        let at = world.add_client(1, ice_lite);
        world.run_until(Duration::from_secs(5), |world| world.is_connected(1));
        let states = ice_states(&world, 1);
        assert_eq!(states.last(), Some(&IceState::Connected), "{states:?}");
        let connected = world.events.iter().find_map(|event| match event {
            Event::IceStateChanged {
                state: IceState::Connected,
                local,
                remote,
                protocol,
                ..
            } => Some((local.clone(), remote.clone(), *protocol)),
            _ => None,
        });
        let remote = world.clients[at].address.to_string();
        assert_eq!(connected, Some(("10.0.0.1:7882".into(), remote, "udp")));
        assert!(world.events.iter().any(|event| matches!(
            event,
            Event::DtlsStateChanged {
                transport: 1,
                state: DtlsState::Connected,
                srtp_profile,
                ..
            } if srtp_profile.starts_with("AEAD_AES_")
        )));
        assert_eq!(world.failures(), []);
    }
}

/// A hundred clients may come in one batch.
#[test]
fn a_flight_of_dtls_does_not_wait_for_the_handshakes_of_others() {
    let mut world = World::new();
    let hellos = Rc::new(RefCell::new(Vec::new()));
    let taken = Rc::clone(&hellos);
    world.loss = Some(Box::new(move |datagram| {
        let is_hello = datagram.to == SERVER && (20..=63).contains(&datagram.bytes[0]);
        if is_hello {
            taken.borrow_mut().push(datagram.clone());
        }
        is_hello
    }));
    for id in 1..=3 {
        world.add_client(id, true);
    }
    world.settle();
    let hellos = hellos.take();
    assert_eq!((hellos.len(), world.under_way()), (3, 0));
    for (at, mut hello) in hellos.into_iter().enumerate() {
        world.give_core(hello.from, &mut hello.bytes);
        assert!(world.under_way() > at);
    }
}

#[test]
fn a_peer_that_vanishes_is_disconnected_then_failed() {
    let mut world = World::new();
    world.connect(1);
    world.clients.clear();
    world.run(Duration::from_millis(9_000));
    assert_eq!(ice_states(&world, 1).last(), Some(&IceState::Connected));
    world.run(Duration::from_millis(12_000));
    let states = ice_states(&world, 1);
    assert!(
        states.ends_with(&[IceState::Disconnected, IceState::Failed]),
        "{states:?}"
    );
}

#[test]
fn a_restart_keeps_both_ufrags_until_it_is_done() {
    let mut world = World::new();
    let at = world.connect(1);
    let ice = IceParameters {
        ufrag: "other-ufrag".into(),
        pwd: "another-password-of-22".into(),
    };
    world.command(Command::RestartIce {
        transport: 1,
        ice: ice.clone(),
    });
    assert!(world.core.ufrags.contains_key("other-ufrag"));
    assert!(world.core.ufrags.contains_key(&server_ice(1).ufrag));
    let client = &mut world.clients[at];
    let credentials = transport::IceCredentials {
        ufrag: "restarted".into(),
        pwd: "client-password-restarted".into(),
    };
    client
        .transport
        .restart_ice(world.now, credentials)
        .unwrap();
    client.set_remote(world.now, &ice, super::world::IDENTITY.fingerprint());
    world.command(Command::SetRemoteParameters {
        transport: 1,
        ice: IceParameters {
            ufrag: "restarted".into(),
            pwd: "client-password-restarted".into(),
        },
        dtls: DtlsParameters {
            algorithm: "sha-256".into(),
            fingerprint: super::world::IDENTITY.fingerprint().to_string(),
            role: DtlsRole::Server,
        },
        remote_lite: false,
    });
    world.run(Duration::from_secs(20));
    assert_eq!(ice_states(&world, 1).last(), Some(&IceState::Connected));
    assert_eq!(world.failures(), []);
}

#[test]
fn commands_are_idempotent_and_wrong_ones_are_answered() {
    let mut world = World::new();
    world.add_client(1, true);
    let create = |transport, ufrag: &str| Command::CreateTransport {
        transport,
        worker: 0,
        ice: IceParameters {
            ufrag: ufrag.into(),
            pwd: "p".repeat(22),
        },
        ice_lite: true,
        controlling: false,
    };
    let candidate = |address: &str, protocol: &str| Command::AddRemoteCandidate {
        transport: 1,
        candidate: Candidate {
            foundation: "1".into(),
            component: 1,
            protocol: protocol.into(),
            priority: 1,
            address: address.into(),
            port: 9,
            kind: "host".into(),
            tcp_type: None,
        },
    };
    let video = || Command::CreateReceiver(Box::new(receiver(5, 1, "0", MediaKind::Video)));
    for command in [
        create(1, "server1"),
        video(),
        video(),
        candidate("abc.local", "udp"),
        candidate("192.0.2.1", "tcp"),
        Command::CloseReceiver { receiver: 77 },
        Command::CloseDownTrack { down_track: 77 },
        Command::CloseTransport { transport: 77 },
    ] {
        world.command(command);
    }
    assert_eq!(world.failures(), []);

    let down_track = super::world::down_track(9, 1, 6, MediaKind::Video);
    for command in [
        create(2, "server1"),
        candidate("nonsense", "udp"),
        candidate("192.0.2.1", "sctp"),
        Command::CreateReceiver(Box::new(receiver(6, 2, "0", MediaKind::Audio))),
        Command::CreateDownTrack(Box::new(down_track)),
        Command::RequestKeyFrame { receiver: 6 },
        Command::SetRemoteParameters {
            transport: 1,
            ice: server_ice(9),
            dtls: DtlsParameters {
                algorithm: "md5".into(),
                fingerprint: "00".into(),
                role: DtlsRole::Server,
            },
            remote_lite: false,
        },
    ] {
        world.command(command);
    }
    assert_eq!(
        world.failures(),
        [
            ("CreateTransport", 2, Code::InvalidArgument),
            ("AddRemoteCandidate", 1, Code::InvalidArgument),
            ("AddRemoteCandidate", 1, Code::InvalidArgument),
            ("CreateReceiver", 6, Code::NotFound),
            ("CreateDownTrack", 9, Code::FailedPrecondition),
            ("RequestKeyFrame", 6, Code::NotFound),
            ("SetRemoteParameters", 1, Code::InvalidArgument),
        ]
    );
}

#[test]
fn a_closed_transport_leaves_nothing_behind() {
    let mut world = World::new();
    world.connect(1);
    world.command(Command::CreateReceiver(Box::new(receiver(
        5,
        1,
        "0",
        MediaKind::Video,
    ))));
    world.command(Command::CloseTransport { transport: 1 });
    let core = &world.core;
    assert!(core.ufrags.is_empty() && core.tuples.is_empty() && core.clocks.is_empty());
    assert_eq!((core.connections.len(), core.sources.len()), (0, 0));
    // The same ids and credentials can be used again.
    world.clients.clear();
    world.connect(1);
}

#[test]
fn an_idle_transport_wakes_the_worker_rarely() {
    for ice_lite in [true, false] {
        let mut world = World::new();
        world.add_client(1, ice_lite);
        world.run_until(5000 * MS, |world| world.is_connected(1));
        world.run(5000 * MS);
        world.core_timeouts = 0;
        world.run(20_000 * MS);
        let limit = 20 * 5;
        assert!(
            world.core_timeouts <= limit,
            "{}, lite: {ice_lite}",
            world.core_timeouts
        );
    }
}
