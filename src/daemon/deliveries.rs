//! Scans and requests → where deliveries are kept, once they are: until then scans are counted, and requests refused.

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::control::{Reply, Request};
use crate::scanner::{Event, Roster, Standing};

/// Runs until both channels are closed.
pub(super) async fn none(
    mut roster: Roster,
    clock: Clock,
    mut scans: mpsc::Receiver<Event>,
    mut requests: mpsc::Receiver<Request>,
    standings: watch::Sender<Vec<Standing>>,
) {
    loop {
        tokio::select! {
            Some(event) = scans.recv() => {
                roster.note(&event, clock.uptime());
                standings.send_replace(roster.standings().to_vec());
            }
            Some(Request { reply, .. }) = requests.recv() => {
                reply.send(Reply::Refused("this agent has no deliveries yet".to_owned())).ok();
            }
            else => return,
        }
    }
}
