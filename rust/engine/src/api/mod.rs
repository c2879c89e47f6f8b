//! The vocabulary of the boundary with the control plane: `lkpy/engine/api.py` in Rust.
//!
//! Every object is named by an [`Id`] that the control plane allocates from one counter, so an id
//! names exactly one object of any kind. Commands are idempotent by id; one that cannot be carried
//! out is answered by [`Event::CommandFailed`].

mod command;
mod config;
mod error;
mod event;
mod stats;

pub use command::{
    Candidate, Command, CreateDownTrack, CreateReceiver, DtlsParameters, DtlsRole, Encoding,
    HeaderExtension, IceParameters, RtpCodec, SendData,
};
pub use config::{EngineConfig, EngineInfo, Fault, WorkerInfo};
pub use error::{Code, EngineError};
pub use event::{Event, Weight};
pub use sfu::{
    AllocatorConfig, EstimatorConfig, LossConfig, MediaKind, ObserverConfig, PlayoutDelayLimits,
    RegulatorConfig, RtxBudgetConfig, TrendConfig,
};
pub use stats::{
    DataDownTrackStats, DataTrackStats, DownTrackStats, LayerStats, StatsCollected, TransportStats,
    WorkerStats,
};
pub use transport::{DtlsState, IceState};

/// Names one transport, receiver, down track, data track or data down track.
pub type Id = u64;
