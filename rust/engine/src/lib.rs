//! The media engine: workers, sockets, timers, demultiplexing. The only crate with I/O and a clock.
//!
//! The control plane starts an [`Engine`], gives it [`api::Command`]s and takes [`api::Event`]s. Each
//! worker is a thread with an epoll loop around a [`core::Core`], which does the work and does no I/O.
//!
//! | module | what |
//! |---|---|
//! | [`api`] | commands, events, configuration: the boundary with the control plane |
//! | [`core`] | one worker without its thread |
//! | [`egress`] | the send batch: runs of datagrams in one buffer |
//! | `engine`, `worker`, `queue`, `directory` | threads, loops, and the way of commands and events between them |
//! | `supervisor` | whether the workers turn |
//! | `unserved` | what is answered for a worker that has ended |
//! | `bind`, `candidates` | sockets and what peers are told about them |
//! | `output` | from the send batch to the sockets |
//! | `tcp` | ICE over TCP: connections and their framing |
//! | `sys` | system calls, the only `unsafe` |

#![deny(unsafe_code)]

pub mod api;
mod bind;
mod candidates;
pub mod core;
mod directory;
pub mod egress;
mod engine;
mod output;
mod queue;
mod supervisor;
mod sys;
mod tcp;
mod unserved;
mod worker;

pub use engine::Engine;
