use std::net::IpAddr;

use mio::Waker;

use super::*;
use crate::api::{Code, StatsCollected};
use crate::bind::bind_udp;
use crate::egress::Run;

fn setup() -> WorkerSetup {
    let poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    WorkerSetup {
        worker: 3,
        config: EngineConfig {
            fault_injection: true,
            ..EngineConfig::default()
        },
        identity: DtlsIdentity::generate().unwrap(),
        sockets: bind_udp(&[IpAddr::from([127, 0, 0, 1])], 0).unwrap(),
        listeners: Vec::new(),
        poll,
        registry,
        commands: Arc::new(CommandQueue::new(100)),
        events: Arc::new(EventQueue::new(100).unwrap()),
        stop: Arc::new(AtomicBool::new(false)),
        heart: Arc::new(Heartbeat::new(Instant::now())),
    }
}

fn collect(request: u64) -> Command {
    Command::CollectStats { request }
}

fn requests(events: &[Event]) -> Vec<u64> {
    let requests = events.iter().filter_map(|event| match event {
        Event::StatsCollected(stats) => {
            assert_eq!(stats.worker.worker, 3);
            Some(stats.request)
        }
        _ => None,
    });
    requests.collect()
}

#[test]
fn what_is_queued_when_the_worker_ends_is_answered() {
    let setup = setup();
    let waker = Waker::new(setup.poll.registry(), WAKE).unwrap();
    let (events, commands) = (Arc::clone(&setup.events), Arc::clone(&setup.commands));
    commands.lock().push(collect(5));
    commands
        .lock()
        .push(Command::RequestKeyFrame { receiver: 9 });
    commands.lock().push(Command::CloseReceiver { receiver: 9 });
    setup.heart.inject(crate::api::Fault::Die);
    waker.wake().unwrap();
    setup.run();
    let said = events.drain(100);
    assert!(
        matches!(
            said.as_slice(),
            [
                Event::WorkerFailed {
                    worker: 3,
                    replaced: false,
                    ..
                },
                Event::StatsCollected(_),
                Event::CommandFailed {
                    subject: 9,
                    code: Code::Unavailable,
                    ..
                }
            ]
        ),
        "{said:?}"
    );
    assert!(commands.is_empty());
}

#[test]
fn what_the_worker_has_taken_is_answered_when_it_ends() {
    let mut worker = Worker::new(setup());
    let now = Instant::now();
    // Answered and not said, being collected, taken.
    worker.core.handle_command(now, collect(1));
    while worker.core.unanswered().count() > 0 {
        worker.core.handle_timeout(Instant::now());
    }
    worker.core.handle_command(now, collect(2));
    worker.taken.push_back(collect(3));
    assert_eq!(requests(&worker.give_up()), [1, 2, 3]);
}

fn stats(worker: &mut Worker, request: u64) -> Box<StatsCollected> {
    worker.commands.lock().push(collect(request));
    answer(worker)
}

fn answer(worker: &mut Worker) -> Box<StatsCollected> {
    loop {
        worker.turn();
        for event in worker.events.drain(100) {
            if let Event::StatsCollected(stats) = event {
                return stats;
            }
        }
    }
}

#[test]
fn a_core_that_takes_the_place_of_another_goes_on_counting() {
    let mut worker = Worker::new(setup());
    let pair = CandidatePair {
        local: worker.sockets[0].address,
        remote: worker.sockets[0].address,
        protocol: Protocol::Tcp,
    };
    let run = Run {
        pair,
        start: 0,
        len: 4,
        segment: 4,
    };
    // For a connection that is gone.
    worker.tcp.borrow_mut().send(&run, &[0; 4]);
    worker.events_dropped = 6;
    let before = stats(&mut worker, 1).worker;
    assert_eq!(before.drops_by_reason, [("send_full", 1)]);
    assert_eq!(before.events_dropped, 6);
    for failures in 1..3 {
        // The next core answers what this one was asked.
        worker.core.handle_command(Instant::now(), collect(2));
        worker.replace_core("injected".to_owned()).unwrap();
        let after = answer(&mut worker).worker;
        assert_eq!(after.drops_by_reason, [("send_full", 1)]);
        assert_eq!((after.events_dropped, after.panics), (6, failures));
        assert!(after.cpu_seconds >= before.cpu_seconds);
    }
    worker.tcp.borrow_mut().send(&run, &[0; 4]);
    let last = stats(&mut worker, 3).worker;
    assert_eq!(last.drops_by_reason, [("send_full", 2)]);
}
