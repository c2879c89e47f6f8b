//! Media on paths that nobody checks: a peer that nominated two pairs keeps its media to one of them.

use std::time::Duration;

use lkpy_transport::{CandidatePair, IceState, SourceError};

use crate::call::{CLIENT, Call, Roles, SERVER};

const S: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Between two packets of media.
const PACING: Duration = Duration::from_millis(100);

/// A pair as the other side sees it.
fn reverse(pair: CandidatePair) -> CandidatePair {
    CandidatePair {
        local: pair.remote,
        remote: pair.local,
        protocol: pair.protocol,
    }
}

fn connected(roles: Roles) -> Call {
    let mut call = Call::new(roles);
    call.pass(10 * S);
    assert_eq!(call.server_states.last(), Some(&IceState::Connected));
    call
}

/// Passes time in which the client sends media on `pair`, and the server where it thinks right.
fn pass_with_media(call: &mut Call, time: Duration, pair: CandidatePair) -> usize {
    let packets = (time.as_millis() / PACING.as_millis()) as usize;
    for _ in 0..packets {
        call.send_media(CLIENT, pair);
        let selected = call.selected(SERVER);
        call.send_media(SERVER, selected);
        call.pass(PACING);
    }
    packets
}

/// Both sides select another pair. Media goes on; only checks are lost on the pair before.
fn change_pair(call: &mut Call, pair: CandidatePair) -> usize {
    let before = call.selected(SERVER);
    call.unchecked = Some((before.local, before.remote));
    let mut sent = 0;
    for _ in 0..14 {
        sent += pass_with_media(call, S, pair);
        let selected = call.selected(SERVER);
        if selected != before && reverse(call.selected(CLIENT)) == selected {
            break;
        }
    }
    call.unchecked = None;
    assert_ne!(call.selected(SERVER), before);
    assert_eq!(reverse(call.selected(CLIENT)), call.selected(SERVER));
    sent
}

/// What arrived of `sent` packets each way, in percent.
fn percent_received(call: &Call, sent: usize) -> [usize; 2] {
    call.received.map(|received| received * 100 / sent)
}

#[test]
fn media_on_a_pair_that_is_not_selected_any_more_is_received_for_ten_minutes() {
    for roles in Roles::ALL {
        for (loss, least) in [(0, 100), (50, 92)] {
            for keeps_to_the_first in [true, false] {
                let mut call = connected(roles);
                let first = call.selected(CLIENT);
                let mut sent = change_pair(&mut call, first);
                call.loss = loss;
                let second = call.selected(CLIENT);
                let pair = if keeps_to_the_first { first } else { second };
                for _ in 0..10 {
                    sent += pass_with_media(&mut call, MINUTE, pair);
                }
                call.loss = 0;
                call.pass(S);
                let what = format!("{roles:?} {loss} {keeps_to_the_first}");
                for percent in percent_received(&call, sent) {
                    assert!(percent >= least, "{what}: {percent} %");
                }
                assert_eq!(call.refused, [0, 0], "{what}");
                assert_eq!(call.server_states.last(), Some(&IceState::Connected));
                assert!(!call.server_states.contains(&IceState::Failed), "{what}");
            }
        }
    }
}

#[test]
fn media_keeps_to_its_pair_while_the_selection_changes_every_minute() {
    for roles in Roles::ALL {
        for (loss, least) in [(0, 100), (50, 92)] {
            let mut call = connected(roles);
            let pair = call.selected(CLIENT);
            let mut sent = 0;
            for _ in 0..10 {
                call.loss = 0;
                sent += change_pair(&mut call, pair);
                call.loss = loss;
                sent += pass_with_media(&mut call, MINUTE, pair);
            }
            call.loss = 0;
            call.pass(S);
            let what = format!("{roles:?} {loss}");
            for percent in percent_received(&call, sent) {
                assert!(percent >= least, "{what}: {percent} %");
            }
            assert_eq!(call.refused, [0, 0], "{what}");
            assert!(!call.server_states.contains(&IceState::Failed), "{what}");
        }
    }
}

#[test]
fn a_path_is_forgotten_when_nothing_comes_on_it() {
    for roles in Roles::ALL {
        let mut call = connected(roles);
        let first = call.selected(CLIENT);
        change_pair(&mut call, first);
        let second = call.selected(CLIENT);
        call.dead = Some((first.local, first.remote));
        pass_with_media(&mut call, 31 * S, second);
        let now = call.now;
        let checked = call.peers[SERVER].check_source(now, reverse(first));
        assert_eq!(checked, Err(SourceError::Expired), "{roles:?}");
        assert_eq!(
            call.peers[SERVER].check_source(now, reverse(second)),
            Ok(())
        );
    }
}

/// What was sent on the pair before arrives while the first on the new one is on its way.
#[test]
fn paths_outlive_the_generation_that_checked_them() {
    for roles in Roles::ALL {
        let mut call = connected(roles);
        let pair = call.selected(CLIENT);
        let credentials = [
            crate::peers::credentials("server2"),
            crate::peers::credentials("client2"),
        ];
        for (peer, other) in [(SERVER, CLIENT), (CLIENT, SERVER)] {
            let dtls = lkpy_transport::RemoteDtls {
                fingerprint: crate::peers::IDENTITY.fingerprint().clone(),
                role_is_client: peer == SERVER,
            };
            let (now, transport) = (call.now, &mut call.peers[peer]);
            transport
                .restart_ice(now, credentials[peer].clone())
                .unwrap();
            transport
                .set_remote(now, credentials[other].clone(), &dtls)
                .unwrap();
            for address in crate::call::ADDRESSES[other] {
                transport
                    .add_remote_candidate(now, &crate::peers::host(crate::peers::addr(address)));
            }
        }
        // Nothing but media on this pair from now on.
        call.unchecked = Some((pair.local, pair.remote));
        let sent = pass_with_media(&mut call, 10 * MINUTE, pair);
        call.pass(S);
        assert_eq!(call.received[SERVER], sent, "{roles:?}");
        let ufrags: Vec<_> = call.peers[SERVER].local_ufrags().collect();
        assert_eq!(ufrags, ["server2frag"]);
        assert_ne!(call.selected(SERVER), reverse(pair));
    }
}
