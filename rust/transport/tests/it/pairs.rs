//! Peers with several addresses: which of the pairs are checked, and what happens when one dies.

use std::time::{Duration, Instant};

use lkpy_transport::IceState;

use crate::call::{ADDRESSES, CLIENT, Call, DELAY, Roles, SERVER, Stun};
use crate::peers::{addr, host};

const S: Duration = Duration::from_secs(1);

/// A call in which nothing has happened for a while.
fn settled(server_controls: bool) -> Call {
    let roles = if server_controls {
        Roles::ServerControls
    } else {
        Roles::ClientControls
    };
    let mut call = Call::new(roles);
    call.pass(10 * S);
    assert_eq!(call.server_states.last(), Some(&IceState::Connected));
    assert_eq!(call.pairs_checked(SERVER), 4);
    call.forget();
    call
}

#[test]
fn an_idle_agent_checks_the_selected_pair_alone() {
    for server_controls in [false, true] {
        let mut call = settled(server_controls);
        let pair = call.selected(SERVER);
        call.pass(60 * S);
        for stun in &call.sent[SERVER] {
            assert_eq!((stun.local, stun.remote), (pair.local, pair.remote));
        }
        let times: Vec<Instant> = call.checks(SERVER).map(|stun| stun.at).collect();
        assert!((11..=13).contains(&times.len()), "{}", times.len());
        for times in times.windows(2) {
            assert_eq!(times[1] - times[0], 5 * S);
        }
        assert_eq!(call.server_states, []);
        assert_eq!(call.peers[SERVER].rtt(), Some(2 * DELAY));
    }
}

#[test]
fn checks_of_the_peer_are_answered_on_every_pair() {
    for server_controls in [false, true] {
        let mut call = settled(server_controls);
        let pair = call.selected(SERVER);
        for second in 0..28 {
            // Something new to check keeps the client checking all of its pairs.
            let nowhere = addr(&format!("203.0.113.1:{}", 1 + second));
            let now = call.now;
            call.peers[CLIENT].add_remote_candidate(now, &host(nowhere));
            call.pass(S);
        }
        let server = ADDRESSES[SERVER].map(addr);
        let to_server = |stun: &&Stun| server.contains(&stun.remote);
        let asked = call.checks(CLIENT).filter(to_server).count();
        let answered = call.sent[SERVER].iter().filter(|s| !s.is_request).count();
        assert!(
            asked >= 50 && answered + 4 >= asked,
            "{answered} of {asked}"
        );
        assert_eq!(call.pairs_checked(SERVER), 1);
        assert_eq!(call.selected(SERVER), pair);
    }
}

#[test]
fn another_pair_is_taken_when_the_selected_one_dies() {
    for server_controls in [false, true] {
        let mut call = settled(server_controls);
        for _ in 0..2 {
            let dead = call.selected(SERVER);
            call.cut_selected();
            let took = call.pass_until(60 * S, |call| {
                let server = call.selected(SERVER);
                let client = call.selected(CLIENT);
                server != dead && (server.local, server.remote) == (client.remote, client.local)
            });
            let took = took.expect("both use another pair");
            assert!(took <= 9 * S, "{server_controls} {took:?}");
            call.pass(30 * S);
            assert!(!call.server_states.contains(&IceState::Disconnected));
            // One that was abandoned is not forgotten: it may be the next one's turn.
            call.dead = None;
            call.pass(30 * S);
            call.forget();
            call.pass(30 * S);
            assert_eq!(call.pairs_checked(SERVER), 1);
        }
    }
}

#[test]
fn a_lost_check_does_not_end_a_pair() {
    for server_controls in [false, true] {
        let mut call = settled(server_controls);
        let pair = call.selected(SERVER);
        let sent = |call: &Call| call.checks(SERVER).count() > 0;
        call.pass_until(6 * S, sent).unwrap();
        // The check and what else is on the way is lost.
        call.queue.clear();
        call.pass(60 * S);
        assert_eq!(call.selected(SERVER), pair);
        assert_eq!(call.server_states, []);
        let end = call.now;
        let late = call.checks(SERVER).filter(|stun| stun.at > end - 40 * S);
        assert!(late.count() <= 9, "quiet again");
    }
}
