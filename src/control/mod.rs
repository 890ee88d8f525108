//! The local socket: people and programs of the van ask the agent, and tell it what only a person knows.
//!
//! - Lines of JSON each way over a Unix stream socket ([`Question`], [`Answer`]; `docs/control.md`). Who may open the
//!   socket, its owner and group, may ask everything.
//! - No answer carries a secret or a place, and a parcel only to who asked about it.
//! - A client costs a bounded buffer. One that sends garbage, nothing, or does not read loses its connection and nobody
//!   else's time.
//! - What concerns parcels goes to the engine as a [`Request`], and its [`Reply`] comes back.

pub mod client;
mod protocol;
pub mod server;
pub mod status;
#[cfg(test)]
mod tests;
mod text;

use tokio::sync::oneshot;

use crate::wire::json::Duty;
pub use protocol::{
    Answer, DelayAsked, HandOver, LogAsked, MAX_LINE, NotUnderstood, Nothing, OutcomeAsked,
    ParcelOutcome, Question, ScanAsked, VERSION,
};
pub(crate) use text::span;
pub use text::{summary, text};

/// How many requests may wait for the engine; one client has one at a time.
pub const CHANNEL_REQUESTS: usize = 16;

/// What somebody wants of the engine.
#[derive(Debug)]
pub struct Request {
    /// What.
    pub asked: Asked,
    /// Where the reply goes. Dropped, the client is told that the agent stops.
    pub reply: oneshot::Sender<Reply>,
}

/// What can be wanted of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A code, read by a person ([`ReadBy::Manual`](crate::core::delivery::event::ReadBy)): 1..=4096 bytes.
    Scan {
        /// As it was typed.
        code: String,
    },
    /// What became of a parcel.
    Outcome(OutcomeAsked),
    /// Whether the driver is on duty.
    Duty(Duty),
    /// Why the van is late; `None`: it is not.
    Delay {
        /// UN/EDIFACT 4221.
        code: Option<String>,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was done; what, in words, for people.
    Done(String),
    /// It was not; why, in words, with the remedy.
    Refused(String),
}
