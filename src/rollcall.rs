//! Whether the agent's loops still turn: one asks, and each loop answers at its next turn.
//!
//! So no loop needs a timer for it, and an agent that nobody asks does nothing. A loop that waits for a slow disk is
//! well, and answers meanwhile; one that waits for ever is not, and falls silent.

use std::future::{self, Future};

use tokio::sync::watch;

/// How many questions a loop answers while it waits for one and the same thing. They come every 5 s: a worn card may
/// take a minute for a write, and nothing takes two.
const ANSWERS_WHILE_WAITING: u32 = 24;

/// Asks every [`Pulse`] that it gave out. Clones ask the same.
#[derive(Clone, Debug, Default)]
pub struct RollCall {
    question: watch::Sender<u64>,
    answers: Vec<(&'static str, watch::Receiver<u64>)>,
}

impl RollCall {
    /// A pulse for the loop of this name.
    pub fn pulse(&mut self, name: &'static str) -> Pulse {
        let answer = watch::Sender::new(*self.question.borrow());
        self.answers.push((name, answer.subscribe()));
        Pulse { question: self.question.subscribe(), answer }
    }

    /// Asks everybody.
    pub fn ask(&self) {
        self.question.send_modify(|number| *number += 1);
    }

    /// Who has not answered the newest question. A loop that has ended owes no answer.
    pub fn silent(&self) -> impl Iterator<Item = &'static str> {
        let asked = *self.question.borrow();
        let owes = move |answer: &watch::Receiver<u64>| {
            answer.has_changed().is_ok() && *answer.borrow() != asked
        };
        self.answers.iter().filter(move |(_, answer)| owes(answer)).map(|(name, _)| *name)
    }
}

/// A loop's side. Its default is one that nobody asks.
#[derive(Clone, Debug)]
pub struct Pulse {
    question: watch::Receiver<u64>,
    answer: watch::Sender<u64>,
}

impl Default for Pulse {
    fn default() -> Self {
        RollCall::default().pulse("nobody")
    }
}

impl Pulse {
    /// Waits for a question and answers it; a branch of the loop's `select!`. Cancelling it loses nothing.
    pub async fn answer(&mut self) {
        if self.question.changed().await.is_err() {
            return future::pending().await;
        }
        self.answer.send_replace(*self.question.borrow_and_update());
    }

    /// Does `work`, which may have to wait for the disk, and answers meanwhile.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        for _ in 0..ANSWERS_WHILE_WAITING {
            tokio::select! {
                biased;
                result = &mut work => return result,
                () = self.answer() => {}
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
        let mut calls = RollCall::default();
        let (mut turning, hanging, ended) =
            (calls.pulse("turning"), calls.pulse("hanging"), calls.pulse("ended"));
        drop(ended);
        assert_eq!(calls.silent().count(), 0, "nobody was asked");
        calls.ask();
        assert_eq!(calls.silent().collect::<Vec<_>>(), ["turning", "hanging"]);
        tokio::spawn(async move {
            loop {
                turning.answer().await;
            }
        });
        turn().await;
        assert_eq!(calls.silent().collect::<Vec<_>>(), ["hanging"]);
        drop(hanging);
        assert_eq!(calls.silent().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_disk_answers_and_who_waits_for_ever_falls_silent() {
        let mut calls = RollCall::default();
        let mut pulse = calls.pulse("relay");
        tokio::spawn(async move { pulse.during(future::pending::<()>()).await });
        for _ in 0..ANSWERS_WHILE_WAITING {
            calls.ask();
            turn().await;
            assert_eq!(calls.silent().count(), 0);
        }
        calls.ask();
        turn().await;
        assert_eq!(calls.silent().collect::<Vec<_>>(), ["relay"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_that_nobody_asks_only_waits() {
        let mut pulse = Pulse::default();
        assert!(tokio::time::timeout(Duration::from_secs(3600), pulse.answer()).await.is_err());
        assert_eq!(pulse.during(async { 7 }).await, 7);
    }
}
