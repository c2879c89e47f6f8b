//! Which worker has which object.

use rustc_hash::FxHashMap;

use crate::api::{Command, Id, SendData};

/// Where an object is.
#[derive(Clone, Copy, Debug)]
struct Place {
    worker: usize,
    /// The transport it is on; itself for a transport.
    transport: Id,
}

/// Follows the commands that create and close objects. A closed transport takes what is on it along.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    places: FxHashMap<Id, Place>,
    /// What is on each transport.
    children: FxHashMap<Id, Vec<Id>>,
}

impl Directory {
    /// Notes what `command` creates, and calls `send` with each part of it and its worker. What is
    /// about unknown objects goes to the first worker, which answers that it does not know them.
    pub(crate) fn route(&mut self, command: Command, mut send: impl FnMut(usize, Command)) {
        let worker = match &command {
            Command::CreateTransport {
                transport, worker, ..
            } => self.create(*transport, *transport, *worker),
            Command::CreateReceiver(create) => self.create_on(create.receiver, create.transport),
            Command::CreateDownTrack(create) => self.create_on(create.down_track, create.transport),
            Command::CreateDataTrack {
                data_track,
                transport,
                ..
            } => self.create_on(*data_track, *transport),
            Command::CreateDataDownTrack {
                data_down_track,
                transport,
                ..
            } => self.create_on(*data_down_track, *transport),
            Command::SendData(data) => {
                for (worker, part) in self.split(data) {
                    send(worker, Command::SendData(part));
                }
                return;
            }
            _ => self.worker_of(command.subject()),
        };
        send(worker, command);
    }

    /// Forgets the object `id` and what is on it.
    pub(crate) fn forget(&mut self, id: Id) {
        let Some(place) = self.places.remove(&id) else {
            return;
        };
        for child in self.children.remove(&id).unwrap_or_default() {
            self.places.remove(&child);
        }
        if let Some(siblings) = self.children.get_mut(&place.transport) {
            siblings.retain(|&sibling| sibling != id);
        }
    }

    fn worker_of(&self, id: Id) -> usize {
        self.places.get(&id).map_or(0, |place| place.worker)
    }

    fn create_on(&mut self, id: Id, transport: Id) -> usize {
        let worker = self.worker_of(transport);
        self.create(id, transport, worker)
    }

    fn create(&mut self, id: Id, transport: Id, worker: usize) -> usize {
        if let Some(place) = self.places.get(&id) {
            return place.worker;
        }
        self.places.insert(id, Place { worker, transport });
        if id != transport {
            self.children.entry(transport).or_default().push(id);
        }
        worker
    }

    /// One part for each worker that has any of the channels.
    fn split(&self, data: &SendData) -> Vec<(usize, SendData)> {
        let mut parts: Vec<(usize, SendData)> = Vec::new();
        for &channel in &data.channels {
            let worker = self.worker_of(channel.0);
            match parts.iter_mut().find(|part| part.0 == worker) {
                Some((_, part)) => part.channels.push(channel),
                None => parts.push((
                    worker,
                    SendData {
                        channels: vec![channel],
                        payload: data.payload.clone(),
                        binary: data.binary,
                        source: data.source,
                    },
                )),
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CreateReceiver, IceParameters, MediaKind};

    fn create_transport(transport: Id, worker: usize) -> Command {
        let ice = IceParameters {
            ufrag: String::new(),
            pwd: String::new(),
        };
        Command::CreateTransport {
            transport,
            worker,
            ice,
            ice_lite: true,
            controlling: false,
        }
    }

    fn create_receiver(receiver: Id, transport: Id) -> Command {
        Command::CreateReceiver(Box::new(CreateReceiver {
            receiver,
            transport,
            mid: String::new(),
            kind: MediaKind::Audio,
            codecs: Vec::new(),
            header_extensions: Vec::new(),
            encodings: Vec::new(),
            clock_group: 0,
            screen_share: false,
        }))
    }

    fn route(directory: &mut Directory, command: Command) -> Vec<usize> {
        let mut workers = Vec::new();
        directory.route(command, |worker, _| workers.push(worker));
        workers
    }

    #[test]
    fn objects_are_where_their_transport_is_and_go_with_it() {
        let mut directory = Directory::default();
        assert_eq!(route(&mut directory, create_transport(1, 2)), [2]);
        assert_eq!(route(&mut directory, create_receiver(5, 1)), [2]);
        let key_frame = Command::RequestKeyFrame { receiver: 5 };
        assert_eq!(route(&mut directory, key_frame.clone()), [2]);
        // Created again elsewhere: the one that exists is meant.
        assert_eq!(route(&mut directory, create_transport(1, 0)), [2]);
        directory.forget(1);
        assert_eq!(route(&mut directory, key_frame), [0]);
        assert!(directory.places.is_empty() && directory.children.is_empty());
    }

    #[test]
    fn a_closed_child_is_forgotten_by_its_transport() {
        let mut directory = Directory::default();
        route(&mut directory, create_transport(1, 0));
        route(&mut directory, create_receiver(5, 1));
        directory.forget(5);
        assert!(directory.children[&1].is_empty());
    }

    #[test]
    fn a_message_is_split_by_worker() {
        let mut directory = Directory::default();
        route(&mut directory, create_transport(1, 0));
        route(&mut directory, create_transport(2, 1));
        route(&mut directory, create_transport(3, 0));
        let data = SendData {
            channels: vec![(1, 7), (2, 8), (3, 9)],
            payload: [1u8, 2].as_slice().into(),
            binary: true,
            source: 0,
        };
        let mut parts = Vec::new();
        directory.route(Command::SendData(data), |worker, part| {
            if let Command::SendData(part) = part {
                parts.push((worker, part.channels));
            }
        });
        assert_eq!(parts, [(0, vec![(1, 7), (3, 9)]), (1, vec![(2, 8)])]);
    }
}
