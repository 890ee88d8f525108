//! The control socket: local users and programs query the agent and enter what only a person knows.
//!
//! - Each direction carries JSON lines over a Unix stream socket (`Question`, `Answer`;
//!   `docs/control.md`). Its owner and group may send every request.
//! - No response contains a secret or a position. Parcel data are returned only for a request that
//!   names the parcel.
//! - Each client uses a bounded buffer. A client that sends invalid data, sends nothing, or does
//!   not read is disconnected and does not delay other clients.
//! - Requests about parcels are passed to the engine as [`Request`]; its [`Reply`] is sent back.

pub mod client;
mod protocol;
mod render;
pub mod server;
pub mod status;
#[cfg(test)]
mod tests;

use tokio::sync::oneshot;

pub use protocol::{
    DelayRequest, Disposition, Empty, LogLevelRequest, MAX_LINE, OutcomeRequest, ParcelOutcome,
    Request, Response, ScanRequest, UnknownRequest, VERSION,
};
pub(crate) use render::span;
pub use render::{summary, text};
use waypost_wire::payloads::Duty;

/// Maximum number of queued requests. Each client has at most one at a time.
pub const CHANNEL_REQUESTS: usize = 16;

/// Request to the engine.
#[derive(Debug)]
pub struct AgentRequest {
    pub command: AgentCommand,
    /// Channel for the reply. If it is dropped, the client is informed that the agent is stopping.
    pub reply: oneshot::Sender<Reply>,
}

/// Command for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentCommand {
    /// A code entered by a person ([`ReadBy::Manual`](waypost_model::event::ReaderKind)), of 1
    /// to 4096 bytes.
    Scan { code: String },
    /// The delivery outcome of a parcel.
    Outcome(OutcomeRequest),
    /// The driver's duty state.
    Duty(Duty),
    /// A delay of the van; `None` clears it.
    Delay {
        /// Code of X12 data element 1651.
        code: Option<String>,
    },
}

/// Result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was executed; the text for people describes the effect.
    Done(String),
    /// It was rejected; the text for people has the reason and a remedy.
    Rejected(String),
}
