//! What a down track does about loss, upstream and downstream.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use common::call::{Call, DELTA, KEY, SSRC};
use common::{MS, as_rtx, down_track_config, receive, ssrc_of};
use lkpy_sfu::{DownTrack, RtxBudgetConfig};

#[test]
fn a_refused_request_is_repeated_until_the_key_frame_comes() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 1);
    let now = call.now;
    assert!(call.receiver.request_key_frame(now, 0));
    call.asked();
    call.now += 450 * MS;
    let config = down_track_config(call.now, 77);
    call.down_track = DownTrack::new(call.now, config, &call.receiver);
    call.down_track
        .set_connected(call.now, true, &call.receiver);
    let mut asked = Vec::new();
    for _ in 0..30 {
        call.frames(&[DELTA], 1);
        asked.extend(call.asked());
    }
    assert_eq!(asked, [ssrc_of(0), ssrc_of(0)]);
}

#[test]
fn lost_upstream_and_recovered() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 2);
    let packets = call.layers[0].frame(false, 3);
    for index in [0, 2] {
        receive(&mut call.receiver, call.now, &packets[index].bytes);
    }
    call.forward();
    let first = call.sink.sent[0].header.sequence;
    let hole = first.wrapping_add(3);
    call.nack(&[hole]);
    assert_eq!(call.sink.sent.len(), 4);
    receive(&mut call.receiver, call.now, &as_rtx(&packets[1], 9));
    call.forward();
    let late = call.sink.sent.last().unwrap();
    assert_eq!(late.header.sequence, hole);
    assert_eq!(late.origin(), Some(packets[1].origin));
    assert_eq!(late.header.timestamp, call.sink.sent[3].header.timestamp);
}

#[test]
fn a_hole_that_turns_out_unwanted_is_filled_with_an_empty_packet() {
    let mut call = Call::new(1);
    call.update(2, 0, false);
    call.frames(&[KEY], 2);
    let unwanted = call.layers[0].frame(false, 3);
    receive(&mut call.receiver, call.now, &unwanted[0].bytes);
    receive(&mut call.receiver, call.now, &unwanted[2].bytes);
    call.forward();
    receive(&mut call.receiver, call.now, &unwanted[1].bytes);
    call.forward();
    let filler = call.sink.sent.last().unwrap().clone();
    assert_eq!(filler.payload, []);
    assert_eq!(
        filler.header.sequence,
        call.sink.sent[0].header.sequence.wrapping_add(2)
    );
    call.nack(&[filler.header.sequence]);
    let again = call.sink.sent.last().unwrap();
    assert_eq!(again.unwrap_rtx(), (filler.header.sequence, vec![]));
}

#[test]
fn resends_go_out_as_rtx_or_as_they_were() {
    for rtx in [true, false] {
        let mut call = Call::with(1, |config| {
            config.rtx_ssrc = config.rtx_ssrc.filter(|_| rtx);
        });
        call.frames(&[KEY], 2);
        let original = call.sink.sent[1].clone();
        call.nack(&[original.header.sequence]);
        call.nack(&[original.header.sequence]);
        assert_eq!(
            call.sink.sent.len(),
            3,
            "a repetition within two round trips"
        );
        let resent = call.sink.sent.last().unwrap();
        if rtx {
            let expected = (original.header.sequence, original.payload.clone());
            assert_eq!(resent.unwrap_rtx(), expected);
            assert_eq!(
                (resent.header.ssrc, resent.header.payload_type),
                (SSRC + 1, 111)
            );
        } else {
            assert_eq!(*resent, original);
        }
        let stats = call.down_track.stats(call.now);
        assert_eq!(
            (stats.packets, stats.retransmissions, stats.nacks_received),
            (2, 1, 2)
        );
    }
}

#[test]
fn a_budget_bounds_what_is_sent_again_and_the_newest_comes_first() {
    let mut call = Call::with(1, |config| {
        let (ratio, burst) = (0.5, 0);
        config.rtx_budget = Some(RtxBudgetConfig { ratio, burst });
    });
    call.frames(&[KEY], 1);
    for _ in 0..199 {
        call.frames(&[DELTA], 1);
    }
    let sent: Vec<u16> = call.sink.sent.iter().map(|s| s.header.sequence).collect();
    call.nack(&sent);
    let again: Vec<u16> = call.sink.sent[200..]
        .iter()
        .map(|s| s.unwrap_rtx().0)
        .collect();
    assert!((2..150).contains(&again.len()), "{}", again.len());
    let newest: Vec<u16> = sent.iter().rev().take(again.len()).copied().collect();
    assert_eq!(again, newest);
    let stats = call.down_track.stats(call.now);
    assert_eq!(stats.retransmissions, again.len() as u64);
    assert_eq!(stats.retransmissions_capped, 200 - again.len() as u64);
    assert_eq!(stats.nacks_received, 200);

    // Media makes room, also for what did not count as sent again.
    for _ in 0..10 {
        call.frames(&[DELTA], 1);
    }
    let before = call.sink.sent.len();
    call.nack(&sent[..1]);
    assert_eq!(call.sink.sent[before].unwrap_rtx().0, sent[0]);
}

#[test]
fn a_packet_that_found_no_room_can_be_asked_for() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 1);
    call.sink.full = true;
    call.frames(&[DELTA], 1);
    call.sink.full = false;
    call.frames(&[DELTA], 1);
    let hole = call.sink.sent[0].header.sequence.wrapping_add(1);
    call.nack(&[hole]);
    assert_eq!(call.sink.sent.last().unwrap().unwrap_rtx().0, hole);
    assert_eq!(call.down_track.stats(call.now).dropped, 1);
}

#[test]
fn after_a_pli_nothing_from_before_it_is_sent_again() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 1);
    call.asked();
    for _ in 0..30 {
        call.frames(&[DELTA], 1);
    }
    call.down_track.handle_pli(call.now, &mut call.receiver);
    assert_eq!(call.asked(), [ssrc_of(0)]);
    let sequence = call.sink.sent[30].header.sequence;
    call.nack(&[sequence]);
    assert_eq!(call.sink.sent.len(), 31);
    call.frames(&[DELTA], 1);
    let sequence = call.sink.sent[31].header.sequence;
    call.nack(&[sequence]);
    assert_eq!(call.sink.sent.len(), 33);
    // It is asked for again for as long as it does not come.
    for _ in 0..20 {
        call.frames(&[DELTA], 1);
    }
    assert_eq!(call.asked(), [ssrc_of(0)]);
    call.frames(&[KEY], 1);
    assert_eq!(call.down_track.next_deadline(), None);
    let key = call.sink.sent.last().unwrap().header.sequence;
    call.nack(&[key]);
    assert_eq!(call.sink.sent.last().unwrap().unwrap_rtx().0, key);
}

#[test]
fn padding_from_the_publisher_leaves_no_trace() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 1);
    for _ in 0..5 {
        let padding = call.layers[0].padding();
        receive(&mut call.receiver, call.now, &padding.bytes);
    }
    call.frames(&[DELTA], 1);
    let sequences: Vec<_> = call
        .sink
        .sent
        .iter()
        .map(|sent| sent.header.sequence)
        .collect();
    assert_eq!(sequences, [sequences[0], sequences[0].wrapping_add(1)]);
}

#[test]
fn a_pli_that_crossed_a_key_frame_is_not_believed() {
    let mut call = Call::new(1);
    call.frames(&[KEY], 1);
    call.asked();
    call.now += 30 * MS;
    call.down_track.handle_pli(call.now, &mut call.receiver);
    assert_eq!(call.asked(), []);
    let key = call.sink.sent[0].header.sequence;
    call.nack(&[key]);
    assert_eq!(call.sink.sent.len(), 2);
}
