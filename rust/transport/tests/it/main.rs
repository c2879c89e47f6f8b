//! Whole calls in memory under virtual time: this crate against an independent implementation
//! (`str0m`, as a client) and against itself, over a network that delays, loses and reorders.

#![allow(clippy::unwrap_used)]

mod attacks;
mod call;
mod channels;
mod connect;
mod consent;
mod copies;
mod handshake;
mod mobility;
mod network;
mod pace;
mod pairs;
mod paths;
mod peers;
mod sim;
mod str0m_peer;
mod stun;
