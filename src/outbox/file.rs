//! What the file says, in memory: changed beside a transaction, and kept when that is committed.

use rusqlite::Transaction;

use super::batches::Open;
use super::retention::{self, Gone};
use super::rows::Meta;
use super::{OutboxConfig, schema};
use crate::core::record::{Record, Seq, Subject};
use crate::units::UtcTime;

/// What the file says, as of the last transaction.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub meta: Meta,
    pub open: Option<Open>,
    /// The state after `durable`, encoded.
    pub state: Vec<u8>,
    /// Up to here everything is on flash or acknowledged.
    pub durable: Seq,
    /// Up to here, records may have gone because there was no room.
    pub gone_to: Seq,
}

impl File {
    pub(super) fn records(&self) -> u64 {
        self.meta.closed + self.open.as_ref().map_or(0, Open::count)
    }
}

impl File {
    pub(super) fn newest_utc(&self) -> Option<UtcTime> {
        self.open.as_ref().and_then(|open| UtcTime::from_unix_ms(open.utc_ms))
    }

    pub(super) fn append(
        &mut self,
        transaction: &Transaction<'_>,
        records: &[Record],
        config: &OutboxConfig,
    ) -> rusqlite::Result<()> {
        let open = self.open.as_ref().map(|open| open.packer.first());
        let finished = &mut self.meta.finished;
        let incoming = retention::pages_for(records.len());
        let gone = retention::make_room(transaction, finished, open, incoming, config.max_pages())?;
        self.count(gone);
        for record in records {
            // Another kind gets a row of `record`, and counts as closed.
            match &record.subject {
                Subject::Point(point) => {
                    if let Some(full) = Open::push(&mut self.open, record.seq, point) {
                        full.write(transaction, 0, None)?;
                        self.meta.closed += full.count();
                        let newest = full.earliest_utc_ms;
                        let old = retention::drop_old(transaction, newest, config.max_age)?;
                        self.count(old);
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, gone: Gone) {
        self.meta.thinned += gone.thinned;
        self.meta.dropped += gone.dropped;
        self.meta.closed = self.meta.closed.saturating_sub(gone.all());
        self.gone_to = self.gone_to.max(Seq::new(schema::unsigned(gone.up_to)));
    }

    /// The state goes into the open row; without one, into `meta`.
    pub(super) fn finish(
        &mut self,
        transaction: &Transaction<'_>,
        before: &Self,
    ) -> rusqlite::Result<()> {
        match &self.open {
            Some(open) if open.is_as(before.open.as_ref()) && self.state == before.state => {}
            Some(open) => open.write(transaction, 0, Some(&self.state))?,
            None => (self.meta.state, self.meta.state_seq) = (self.state.clone(), self.durable),
        }
        if self.meta != before.meta {
            self.meta.write(transaction)?;
        }
        Ok(())
    }
}
