use std::cell::RefCell;
use std::rc::Rc;

use rtp::srtp::SrtpProfile;
use transport::Protocol;

use super::*;

type Sends = Rc<RefCell<Vec<(Vec<Run>, Vec<u8>)>>>;

struct Recorder(Sends);

impl PacketOutput for Recorder {
    fn send(&mut self, runs: &[Run], bytes: &[u8]) {
        self.0.borrow_mut().push((runs.to_vec(), bytes.to_vec()));
    }

    fn retry(&mut self) -> bool {
        false
    }

    fn counters(&self) -> OutputCounters {
        OutputCounters::default()
    }
}

fn egress() -> (Egress, Sends) {
    let sends = Sends::default();
    (Egress::new(Box::new(Recorder(Rc::clone(&sends)))), sends)
}

fn pair(port: u16) -> CandidatePair {
    CandidatePair {
        local: "127.0.0.1:1".parse().unwrap(),
        remote: ([127, 0, 0, 1], port).into(),
        protocol: Protocol::Udp,
    }
}

/// Remote port, number of datagrams and bytes of each run.
fn shape(runs: &[Run]) -> Vec<(u16, usize, usize)> {
    let shape = |run: &Run| (run.pair.remote.port(), run.count(), run.len);
    runs.iter().map(shape).collect()
}

#[test]
fn equal_sizes_and_a_shorter_last_one_make_a_run() {
    let (mut egress, sends) = egress();
    for (port, len) in [
        (1, 100),
        (1, 100),
        (1, 40),
        (1, 40),
        (1, 60),
        (2, 60),
        (2, 60),
        (1, 60),
    ] {
        egress.push(pair(port), &vec![len as u8; len]);
    }
    egress.flush();
    egress.flush();
    let sends = sends.borrow();
    assert_eq!(sends.len(), 1);
    let (runs, bytes) = &sends[0];
    let expected = [(1, 3, 240), (1, 1, 40), (1, 1, 60), (2, 2, 120), (1, 1, 60)];
    assert_eq!(shape(runs), expected);
    assert!(runs[0].bytes(bytes)[..200].iter().all(|&byte| byte == 100));
    assert!(runs[3].bytes(bytes).iter().all(|&byte| byte == 60));
    assert_eq!(egress.datagrams(), 8);
}

#[test]
fn runs_stay_within_what_the_kernel_takes() {
    let (mut egress, sends) = egress();
    for _ in 0..70 {
        egress.push(pair(1), &[0; 10]);
    }
    for _ in 0..50 {
        egress.push(pair(2), &[0; 1400]);
    }
    egress.flush();
    let expected = [(1, 64, 640), (1, 6, 60), (2, 46, 64_400), (2, 4, 5_600)];
    assert_eq!(shape(&sends.borrow()[0].0), expected);
}

#[test]
fn a_full_buffer_is_sent_and_nothing_is_lost() {
    let (mut egress, sends) = egress();
    let count = 3 * BUFFER_LEN / 1000;
    for _ in 0..count {
        egress.push(pair(1), &[7; 1000]);
    }
    egress.flush();
    let sends = sends.borrow();
    assert!(sends.len() >= 3);
    let datagrams: usize = sends
        .iter()
        .flat_map(|(runs, _)| runs)
        .map(Run::count)
        .sum();
    assert_eq!(datagrams, count);
}

#[test]
fn a_committed_packet_is_sealed_in_place() {
    let (mut egress, sends) = egress();
    let keys = ([1; 16], [2; 12]);
    let context = || SrtpContext::new(SrtpProfile::AeadAes128Gcm, &keys.0, &keys.1).unwrap();
    let mut sent = Sent::default();
    let mut plain = vec![9u8; 50];
    plain[..12].copy_from_slice(&[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5]);
    let mut srtp = context();
    let mut sink = SealingSink {
        egress: &mut egress,
        srtp: &mut srtp,
        pair: pair(1),
        sent: &mut sent,
    };
    for sequence in [1u8, 2] {
        plain[3] = sequence;
        let room = sink.reserve().unwrap();
        assert_eq!(room.transport_sequence, u16::from(sequence) - 1);
        room.buf[..50].copy_from_slice(&plain);
        sink.commit(12, 50, true);
    }
    // Room that is not committed is not sent.
    sink.reserve().unwrap().buf[0] = 1;
    egress.flush();
    assert_eq!(
        (sent.packets, sent.bytes, sent.transport_sequence),
        (2, 132, 2)
    );
    let sends = sends.borrow();
    let (runs, bytes) = &sends[0];
    assert_eq!(shape(runs), [(1, 2, 132)]);
    let mut second = runs[0].bytes(bytes)[66..].to_vec();
    assert_ne!(second[12..50], plain[12..]);
    assert_eq!(context().unprotect_rtp(&mut second), Ok(50));
    assert_eq!(second[..50], plain);
}
