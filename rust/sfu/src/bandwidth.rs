//! How much a subscriber's connection carries, as its own estimates (REMB) and its repeated requests
//! for lost packets tell. LiveKit's default estimator (`pkg/sfu/bwe/remotebwe`), whose figures it
//! has.
//!
//! | module | what |
//! |---|---|
//! | [`trend`] | whether estimates fall |
//! | [`losses`] | whether lost packets stay lost |
//! | [`regulator`] | when, and for how long, to probe for more |
//! | [`estimator`] | all of it together: is the connection congested, and what does it carry |

mod estimator;
mod losses;
mod regulator;
mod trend;

pub(crate) use estimator::{Estimator, ProbeResult, UNLIMITED};
pub use estimator::{EstimatorConfig, ObserverConfig};
pub use losses::LossConfig;
pub use regulator::RegulatorConfig;
pub use trend::TrendConfig;
