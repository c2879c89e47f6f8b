//! CPU per forwarded packet, beside the floor of the same run.
//!
//! The engine runs in a process of its own, so that "whole process" means what it says; the peers run
//! here. Prints one JSON object per line: `name`, `us_per_packet` (whole process), `compute_us` (the
//! engine's core alone, in memory), `floor_us` and `ratio`. What a person wants to know besides goes to
//! the standard error.

mod compute;
mod cpu;
mod floor;
mod net;
mod peers;
mod serve;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use peers::{Peers, RUN_MAX, Stream};
use serve::Mark;
use transport::DtlsIdentity;

/// Bytes of RTP payload.
const PAYLOAD: usize = 1200;
/// Packets of one frame: 2.3 Mbit/s at thirty frames a second.
const FRAME: usize = 8;
/// Forwarded packets a second in every case, so that all of them bear the same share of what a worker
/// does anyway: ten streams of two megabits.
const PACKETS_PER_SECOND: u32 = 20_000;
const WARM_UP: Duration = Duration::from_millis(1500);
const MEASURED: Duration = Duration::from_secs(4);

/// The process under test.
struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddrV4,
    fingerprint: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can start itself");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the server says ready");
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["ready", port, fingerprint] = words.as_slice() else {
            panic!("the server said: {line}");
        };
        let port = port.parse().expect("a port");
        Server {
            address: SocketAddrV4::new([127, 0, 0, 1].into(), port),
            fingerprint: (*fingerprint).to_owned(),
            child,
            input,
            output,
        }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("the server reads");
        let mut answer = String::new();
        self.output
            .read_line(&mut answer)
            .expect("the server answers");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Case {
    name: String,
    subscribers: usize,
    tracks: usize,
}

struct Outcome {
    us_per_packet: f64,
    runs: [u64; RUN_MAX + 1],
    packets: u64,
}

fn measure(case: &Case) -> Outcome {
    let identity = DtlsIdentity::generate().expect("a certificate");
    let mut server = Server::start();
    let count = case.subscribers + 1;
    let fingerprint = identity.fingerprint().to_string();
    server.ask(&format!("peers {fingerprint} {count} {}", case.tracks));
    let mut peers = Peers::start(count, server.address, &server.fingerprint, &identity);
    peers.connect(Duration::from_secs(20));

    let mut streams: Vec<Stream> = (0..case.tracks)
        .map(|track| Stream::new(serve::source_ssrc(track), track.to_string(), PAYLOAD))
        .collect();
    // The same packet rate whatever the number of tracks: frames of the tracks take turns, and each
    // track's first frame is a key frame.
    let mut turn = 0;
    let interval = Duration::from_secs(1) * (FRAME * case.subscribers) as u32 / PACKETS_PER_SECOND;
    let mut run = |peers: &mut Peers, for_: Duration| {
        let begin = Instant::now();
        let mut next = begin;
        while begin.elapsed() < for_ {
            peers.publish(&mut streams[turn % case.tracks], FRAME);
            turn += 1;
            next += interval;
            while Instant::now() < next {
                peers.turn(next.saturating_duration_since(Instant::now()));
            }
        }
    };
    run(&mut peers, WARM_UP.max(interval * case.tracks as u32));
    let before = Mark::parse(&server.ask("mark"));
    let received: u64 = peers.peers.iter().map(|peer| peer.packets).sum();
    let runs_before = total_runs(&peers);
    run(&mut peers, MEASURED);
    let after = Mark::parse(&server.ask("mark"));
    peers.turn(Duration::from_millis(50));
    let packets = peers.peers.iter().map(|peer| peer.packets).sum::<u64>() - received;
    assert!(packets > 0, "{}: nothing was forwarded", case.name);
    let mut runs = total_runs(&peers);
    for (count, before) in runs.iter_mut().zip(runs_before) {
        *count -= before;
    }
    Outcome {
        us_per_packet: (after.cpu_us - before.cpu_us) / packets as f64,
        runs,
        packets,
    }
}

fn total_runs(peers: &Peers) -> [u64; RUN_MAX + 1] {
    let mut total = [0; RUN_MAX + 1];
    for peer in &peers.peers {
        for (sum, count) in total.iter_mut().zip(peer.runs) {
            *sum += count;
        }
    }
    total
}

/// The achieved distribution as a list of run lengths to replay, about a hundred long.
fn replay(runs: &[u64; RUN_MAX + 1]) -> Vec<usize> {
    let total: u64 = runs.iter().sum();
    let mut list = Vec::new();
    for (length, count) in runs.iter().enumerate() {
        let share = (count * 100).div_ceil(total.max(1)) as usize;
        list.extend(std::iter::repeat_n(length, share));
    }
    list
}

fn report(case: &Case) {
    let outcome = measure(case);
    let compute = compute::compute_us(case.subscribers, case.tracks);
    let runs = replay(&outcome.runs);
    let seal = floor::seal_us(PAYLOAD, case.subscribers);
    let send = floor::send_us(PAYLOAD + 40, &runs, case.subscribers);
    let floor = seal + send;
    let mean = runs.iter().sum::<usize>() as f64 / runs.len() as f64;
    eprintln!(
        "{}: {} packets, mean GSO run {mean:.1}, seal {seal:.3} us, send {send:.3} us",
        case.name, outcome.packets
    );
    println!(
        r#"{{"name": "{}", "us_per_packet": {:.4}, "compute_us": {:.4}, "floor_us": {:.4}, "ratio": {:.3}, "mean_run": {:.2}}}"#,
        case.name,
        outcome.us_per_packet,
        compute,
        floor,
        outcome.us_per_packet / floor,
        mean
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|argument| argument == "serve")
    {
        return serve::serve();
    }
    for subscribers in [1, 20, 100] {
        report(&Case {
            name: format!("forward, fan-out {subscribers}"),
            subscribers,
            tracks: 1,
        });
    }
    for tracks in [1, 10, 50, 500] {
        report(&Case {
            name: format!("forward, {tracks} down tracks per connection"),
            subscribers: 20,
            tracks,
        });
    }
}
