//! Liveness of the agent's loops: a probe is sent to all loops, and each answers in its next
//! iteration.
//!
//! The loops need no timers of their own. A loop that waits for a slow disk still answers, for up
//! to 2 minutes; after that it counts as unresponsive.

use std::future::{self, Future};

use tokio::sync::watch;

/// Maximum number of probes that a loop answers while it waits for one operation. Probes come every
/// 5 s. A write to a worn card may take one minute, but no operation takes two.
const MAX_BEATS_WHILE_WAITING: u32 = 24;

/// Probes every registered [`Heartbeat`]. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Liveness {
    probe: watch::Sender<u64>,
    beats: Vec<(&'static str, watch::Receiver<u64>)>,
}

impl Liveness {
    /// Registers the loop `name` and returns its heartbeat.
    pub fn register(&mut self, name: &'static str) -> Heartbeat {
        let answer = watch::Sender::new(*self.probe.borrow());
        self.beats.push((name, answer.subscribe()));
        Heartbeat { probe: self.probe.subscribe(), beat: answer }
    }

    /// Sends a probe to all loops.
    pub fn probe(&self) {
        self.probe.send_modify(|number| *number += 1);
    }

    /// Names of the loops that have not answered the newest probe. Finished loops are left out.
    pub fn unresponsive(&self) -> impl Iterator<Item = &'static str> {
        let asked = *self.probe.borrow();
        let owes = move |answer: &watch::Receiver<u64>| {
            answer.has_changed().is_ok() && *answer.borrow() != asked
        };
        self.beats.iter().filter(move |(_, answer)| owes(answer)).map(|(name, _)| *name)
    }
}

/// Heartbeat of one loop. The default is not registered anywhere.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    probe: watch::Receiver<u64>,
    beat: watch::Sender<u64>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Liveness::default().register("unregistered")
    }
}

impl Heartbeat {
    /// Waits for a probe and answers it, as a branch of the loop's `select!`. Cancel-safe.
    pub async fn beat(&mut self) {
        if self.probe.changed().await.is_err() {
            return future::pending().await;
        }
        self.beat.send_replace(*self.probe.borrow_and_update());
    }

    /// Runs `work`, which may wait for the disk, and answers probes meanwhile.
    pub async fn beat_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        for _ in 0..MAX_BEATS_WHILE_WAITING {
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = self.beat() => {}
            }
        }
        work.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn turn() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_turns_answers_one_that_hangs_does_not_and_one_that_has_ended_need_not() {
        let mut calls = Liveness::default();
        let (mut turning, hanging, ended) =
            (calls.register("turning"), calls.register("hanging"), calls.register("ended"));
        drop(ended);
        assert_eq!(calls.unresponsive().count(), 0, "no probe was sent");
        calls.probe();
        assert_eq!(calls.unresponsive().collect::<Vec<_>>(), ["turning", "hanging"]);
        tokio::spawn(async move {
            loop {
                turning.beat().await;
            }
        });
        turn().await;
        assert_eq!(calls.unresponsive().collect::<Vec<_>>(), ["hanging"]);
        drop(hanging);
        assert_eq!(calls.unresponsive().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_disk_answers_and_who_waits_for_ever_falls_silent() {
        let mut calls = Liveness::default();
        let mut pulse = calls.register("relay");
        tokio::spawn(async move { pulse.beat_while(future::pending::<()>()).await });
        for _ in 0..MAX_BEATS_WHILE_WAITING {
            calls.probe();
            turn().await;
            assert_eq!(calls.unresponsive().count(), 0);
        }
        calls.probe();
        turn().await;
        assert_eq!(calls.unresponsive().collect::<Vec<_>>(), ["relay"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_that_nobody_asks_only_waits() {
        let mut pulse = Heartbeat::default();
        assert!(tokio::time::timeout(Duration::from_secs(3600), pulse.beat()).await.is_err());
        assert_eq!(pulse.beat_while(async { 7 }).await, 7);
    }
}
