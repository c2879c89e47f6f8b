use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream as Client};

use mio::Poll;

use super::*;
use crate::bind::bind_tcp;

struct Fixture {
    _poll: Poll,
    bound: BoundTcp,
    connections: Connections,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut bound = bind_tcp(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap();
        Self {
            connections: Connections::new(registry, 10),
            _poll: poll,
            bound: bound.remove(0),
            now: Instant::now(),
        }
    }

    /// A client whose connection was accepted.
    fn client(&mut self) -> Client {
        let client = Client::connect(self.bound.address).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let address = client.local_addr().unwrap();
        while !self
            .connections
            .by_pair
            .keys()
            .any(|pair| pair.remote == address)
        {
            let listener = &self.bound.listener;
            self.connections.accept(self.now, listener).unwrap();
        }
        client
    }

    fn read(&mut self, slot: usize) -> Option<Vec<Vec<u8>>> {
        let mut buffer = [0; 256];
        let mut frames = Vec::new();
        let (len, mut deframer) = self.connections.read(slot, &mut buffer)?;
        let valid = deframer.push(&buffer[..len], |frame| frames.push(frame.to_vec()));
        self.connections
            .put_back(slot, deframer, valid.is_ok(), true);
        Some(frames)
    }

    fn run(&self, slot: usize, len: usize, segment: usize) -> Run {
        Run {
            pair: self.connections.pair(slot).unwrap(),
            start: 0,
            len,
            segment,
        }
    }
}

fn is_closed(client: &mut Client) -> bool {
    matches!(client.read(&mut [0; 16]), Ok(0))
}

#[test]
fn frames_go_both_ways() {
    let mut fixture = Fixture::new();
    let mut client = fixture.client();
    assert_eq!(fixture.connections.slot_of(Token(10)), Some(0));
    client.write_all(&[0, 2, 7, 8, 0]).unwrap();
    let mut frames = Vec::new();
    while frames.is_empty() {
        frames = fixture.read(0).unwrap();
    }
    assert_eq!(frames, [[7, 8]]);
    let run = fixture.run(0, 5, 3);
    fixture.connections.send(&run, &[1, 2, 3, 4, 5]);
    fixture.connections.flush();
    let mut received = [0; 9];
    client.read_exact(&mut received).unwrap();
    assert_eq!(received, [0, 3, 1, 2, 3, 0, 2, 4, 5]);
    drop(client);
    while fixture.read(0).is_some() {}
    assert!(fixture.connections.is_empty() && fixture.connections.pair(0).is_none());
    fixture.connections.send(&run, &[0; 5]);
    assert_eq!(fixture.connections.dropped(), 2);
}

#[test]
fn a_bad_frame_ends_the_connection() {
    let mut fixture = Fixture::new();
    let mut client = fixture.client();
    client.write_all(&[0xff, 0xff, 1]).unwrap();
    while fixture.read(0).is_some() {}
    assert!(is_closed(&mut client));
}

#[test]
fn silence_and_lost_transports_are_swept_away() {
    let mut fixture = Fixture::new();
    let mut silent = fixture.client();
    let mut proved = fixture.client();
    let deframer = Deframer::default();
    fixture.connections.put_back(1, deframer, true, true);
    let later = |seconds| fixture.now + Duration::from_secs(seconds);
    fixture.connections.sweep(later(9), |_| true);
    assert_eq!(fixture.connections.by_pair.len(), 2);
    fixture.connections.sweep(later(11), |_| true);
    assert!(is_closed(&mut silent));
    assert_eq!(fixture.connections.by_pair.len(), 1);
    fixture.connections.sweep(later(12), |_| false);
    assert!(is_closed(&mut proved));
}

#[test]
fn the_oldest_unproved_connection_makes_room() {
    let mut fixture = Fixture::new();
    let mut first = fixture.client();
    fixture.now += Duration::from_secs(1);
    let rest: Vec<_> = (0..MAX_UNPROVED).map(|_| fixture.client()).collect();
    assert!(is_closed(&mut first));
    assert_eq!(fixture.connections.by_pair.len(), rest.len());
}

#[test]
fn a_slow_reader_loses_media_first_and_then_the_connection() {
    let mut fixture = Fixture::new();
    let mut client = fixture.client();
    let media = vec![0x80; 1000];
    let data = vec![22; 1000];
    let run = fixture.run(0, 1000, 1000);
    while fixture.connections.dropped() == 0 {
        fixture.connections.send(&run, &media);
        fixture.connections.flush();
    }
    let dropped = fixture.connections.dropped();
    fixture.connections.send(&run, &data);
    fixture.connections.flush();
    assert_eq!(fixture.connections.dropped(), dropped);
    while fixture.connections.pair(0).is_some() {
        fixture.connections.send(&run, &data);
        fixture.connections.flush();
    }
    let mut received = Vec::new();
    let _ = client.read_to_end(&mut received);
    assert!(received.len() > 100_000);
}
