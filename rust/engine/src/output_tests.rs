use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use transport::{CandidatePair, Protocol};

use super::*;
use crate::bind::bind_udp;
use crate::sys::recv::RecvBatch;

fn sockets() -> Rc<[BoundUdp]> {
    bind_udp(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap().into()
}

fn output(sockets: Rc<[BoundUdp]>) -> Output {
    let poll = mio::Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    Output::new(
        sockets,
        Rc::new(RefCell::new(Connections::new(registry, 0))),
    )
}

fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket
}

fn run(local: SocketAddr, remote: SocketAddr, start: usize, len: usize, segment: usize) -> Run {
    let pair = CandidatePair {
        local,
        remote,
        protocol: Protocol::Udp,
    };
    Run {
        pair,
        start,
        len,
        segment,
    }
}

fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let mut buf = [0; 2048];
    (0..count)
        .map(|_| {
            let len = socket.recv(&mut buf).unwrap();
            buf[..len].to_vec()
        })
        .collect()
}

/// Two destinations, runs of several, single datagrams, a shorter last one.
fn sends_everything(gso: bool) -> u64 {
    let sockets = sockets();
    let local = sockets[0].address;
    let (a, b) = (peer(), peer());
    let bytes: Vec<u8> = (0..=255).collect();
    let mut output = output(Rc::clone(&sockets));
    output.gso[0] &= gso;
    let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let runs = [
        run(local, to_a, 0, 25, 10),
        run(local, to_b, 25, 7, 7),
        run(local, to_a, 32, 30, 10),
        // From an address that is not ours.
        run("127.0.0.9:9".parse().unwrap(), to_a, 0, 10, 5),
    ];
    output.send(&runs, &bytes);
    let expected = [0..10, 10..20, 20..25, 32..42, 42..52, 52..62];
    let expected: Vec<_> = expected.map(|range| bytes[range].to_vec()).into();
    assert_eq!(receive(&a, 6), expected);
    assert_eq!(receive(&b, 1), [bytes[25..32].to_vec()]);
    let counters = output.counters();
    assert_eq!((counters.refused, counters.dropped), (2, 0));
    counters.send_calls
}

#[test]
fn one_call_sends_all_runs_of_a_socket() {
    assert_eq!(sends_everything(true), 1);
}

#[test]
fn without_segmentation_the_same_arrives() {
    assert_eq!(sends_everything(false), 1);
}

#[test]
fn what_the_kernel_refuses_costs_nothing_else() {
    let sockets = sockets();
    let local = sockets[0].address;
    let a = peer();
    let to_a = a.local_addr().unwrap();
    let mut output = output(sockets);
    let bytes = vec![5; 66_000];
    // Port 0 cannot be sent to.
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let runs = [
        run(local, nowhere, 0, 20, 10),
        run(local, to_a, 0, 9, 9),
        run(local, to_a, 0, 65_900, 65_900),
        run(local, to_a, 0, 8, 8),
    ];
    output.send(&runs, &bytes);
    let lengths: Vec<_> = receive(&a, 2).iter().map(Vec::len).collect();
    assert_eq!(lengths, [9, 8]);
    assert_eq!(output.counters().refused, 3);
    assert!(!output.retry());
}

#[test]
fn a_backlog_is_bounded_and_keeps_the_order() {
    let sockets = sockets();
    let local = sockets[0].address;
    let a = peer();
    let to_a = a.local_addr().unwrap();
    let mut output = output(sockets);
    let bytes: Vec<u8> = (0..200).collect();
    let message = Message {
        remote: to_a,
        start: 3,
        len: 4,
        segment: Some(2),
    };
    output.wait(0, message, &bytes);
    output.send(&[run(local, to_a, 100, 2, 2)], &bytes);
    assert_eq!(receive(&a, 3), [vec![3, 4], vec![5, 6], vec![100, 101]]);
    assert_eq!(output.backlog_bytes, 0);

    let large = vec![0; BACKLOG_BYTES];
    let fits = Message {
        start: 0,
        len: BACKLOG_BYTES,
        segment: None,
        ..message
    };
    output.wait(0, fits, &large);
    output.wait(0, message, &bytes);
    assert_eq!(output.backlog.len(), 1);
    assert_eq!(output.counters().dropped, 2);
}

#[test]
fn glued_datagrams_are_received_with_their_size() {
    let sockets = sockets();
    let other = self::sockets();
    let mut output = output(Rc::clone(&other));
    let bytes: Vec<u8> = (0..100).collect();
    let runs = [run(other[0].address, sockets[0].address, 0, 95, 10)];
    output.send(&runs, &bytes);
    let mut batch = RecvBatch::new();
    let count = batch.recv(&sockets[0].socket).unwrap();
    let mut datagrams = Vec::new();
    for message in batch.messages() {
        assert_eq!(message.remote, other[0].address);
        datagrams.extend(message.bytes.chunks(message.segment).map(<[u8]>::to_vec));
    }
    assert_eq!(datagrams.len(), 10);
    assert_eq!(datagrams.concat(), bytes[..95]);
    let expected = if sockets[0].offload.gro && other[0].offload.gso {
        1
    } else {
        10
    };
    assert_eq!(count, expected);
    let error = batch.recv(&sockets[0].socket).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(batch.messages().count(), 0);
}
