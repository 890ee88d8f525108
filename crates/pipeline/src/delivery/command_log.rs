//! The newest command results: a command that is repeated gets its previous result and is not run again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::state_docs::{self, StateDocChange};
use waypost_model::command::{CommandId, CommandKind, CommandResult};

/// Newest results, oldest first: a ring of state documents, one per result.
#[derive(Debug, Default)]
pub(super) struct CommandLog {
    durable: VecDeque<ResultDoc>,
    /// Results of idempotent commands, which a restart may execute again.
    transient: VecDeque<CommandResult>,
    next_number: u64,
    /// Changed state documents, not committed yet.
    pub(super) changed_docs: Vec<StateDocChange>,
}

/// State document of a result.
#[derive(Debug, Serialize, Deserialize)]
struct ResultDoc {
    number: u64,
    result: CommandResult,
}

impl CommandLog {
    const CAPACITY: usize = 256;
    const MAX_DETAIL: usize = 200;

    /// Restores a result from its state document. Returns whether the document could be decoded.
    pub(super) fn restore(&mut self, bytes: &[u8]) -> bool {
        let Some(document) = state_docs::decode::<ResultDoc>(bytes) else { return false };
        self.next_number = self.next_number.max(document.number.saturating_add(1));
        let after = self.durable.partition_point(|one| one.number < document.number);
        self.durable.insert(after, document);
        if self.durable.len() > Self::CAPACITY {
            self.durable.pop_front();
        }
        true
    }

    pub(super) fn previous_result(&self, id: CommandId) -> Option<&CommandResult> {
        let kept = self.durable.iter().map(|one| &one.result);
        kept.chain(&self.transient).find(|answer| answer.id == id)
    }

    /// Records the result of a command, truncates its detail, and returns it.
    pub(super) fn record(
        &mut self,
        order: &CommandKind,
        mut answer: CommandResult,
    ) -> CommandResult {
        if let Some(detail) = &mut answer.detail {
            detail.truncate(detail.floor_char_boundary(Self::MAX_DETAIL));
        }
        if order.is_idempotent() {
            if self.transient.len() >= Self::CAPACITY {
                self.transient.pop_front();
            }
            self.transient.push_back(answer.clone());
            return answer;
        }
        let number = self.next_number;
        self.next_number = self.next_number.saturating_add(1);
        let document = ResultDoc { number, result: answer.clone() };
        let key = format!("command/{:03}", number % Self::CAPACITY as u64);
        self.changed_docs.push(StateDocChange { key, value: Some(state_docs::encode(&document)) });
        if self.durable.len() >= Self::CAPACITY {
            self.durable.pop_front();
        }
        self.durable.push_back(document);
        answer
    }
}
