//! One connection: statements → the wire, prepared once, a transaction as one piece.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::{PATIENCE, gone};
use crate::backend::store::StoreError;
use crate::backend::store::sql::{Outcome, Row, Statement, Value};

/// Statements of ours that are kept prepared on each connection.
const PREPARED: usize = 256;

/// A connection, and what is prepared on it.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) client: Client,
    /// With the turn in which each was used last.
    prepared: HashMap<String, (tokio_postgres::Statement, u64)>,
    turn: u64,
}

/// The task that moves a connection's bytes, and what others announce on it.
pub(super) fn started<S>(
    connected: Result<(Client, Connection<tokio_postgres::Socket, S>), tokio_postgres::Error>,
    announced: Option<tokio::sync::mpsc::UnboundedSender<String>>,
) -> Result<Client, tokio_postgres::Error>
where
    S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let (client, mut connection) = connected?;
    tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    let sender = announced.as_ref();
                    if sender.is_some_and(|to| to.send(notification.payload().to_owned()).is_err())
                    {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "connection to postgresql lost");
                    return;
                }
                None => return,
            }
        }
    });
    Ok(client)
}

impl Connected {
    pub(super) fn new(client: Client) -> Self {
        Self { client, prepared: HashMap::new(), turn: 0 }
    }

    /// Runs statements as one piece. The last to go out is COMMIT, which after a refused statement rolls back.
    pub(super) async fn transact(
        &mut self,
        statements: &[Statement],
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut prepared = Vec::with_capacity(statements.len());
        for statement in statements {
            prepared.push(self.prepare(statement).await?);
        }
        let client = &self.client;
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(statements.len() + 2);
        steps.push(Box::pin(control(client, "BEGIN")));
        for (statement, prepared) in statements.iter().zip(&prepared) {
            steps.push(Box::pin(run(client, prepared, statement)));
        }
        steps.push(Box::pin(control(client, "COMMIT")));
        let mut outcomes = pipelined(steps).await?;
        outcomes.pop();
        outcomes.remove(0);
        Ok(outcomes)
    }

    pub(super) async fn ask(&mut self, statement: &Statement) -> Result<Outcome, StoreError> {
        let prepared = self.prepare(statement).await?;
        run(&self.client, &prepared, statement).await
    }

    /// Prepares a statement whose values go into its places: one that does not, in the middle of a transaction that is on its
    /// way, would be left out of it.
    async fn prepare(
        &mut self,
        statement: &Statement,
    ) -> Result<tokio_postgres::Statement, StoreError> {
        let prepared = self.prepare_text(&statement.sql).await?;
        let places = prepared.params();
        let values = &statement.values;
        if values.len() != places.len() {
            let (given, places) = (values.len(), places.len());
            return Err(StoreError::Refused(format!("{given} values for {places} places")));
        }
        let odd = values.iter().zip(places).position(|(value, place)| !value.fits(place));
        odd.map_or(Ok(prepared.clone()), |index| {
            let place = &places[index];
            Err(StoreError::Refused(format!("${} is no {place}", index + 1)))
        })
    }

    async fn prepare_text(&mut self, sql: &str) -> Result<tokio_postgres::Statement, StoreError> {
        self.turn += 1;
        if let Some((prepared, used)) = self.prepared.get_mut(sql) {
            *used = self.turn;
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(sql).await.map_err(gone)?;
        let odd = prepared.columns().iter().find(|column| !Value::is_read(column.type_()));
        if let Some(column) = odd {
            return Err(StoreError::Refused(format!(
                "column {} is a {}; cast it to one of the store's types",
                column.name(),
                column.type_()
            )));
        }
        if self.prepared.len() >= PREPARED {
            let oldest = self.prepared.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(sql) = oldest.map(|(sql, _)| sql.clone()) {
                self.prepared.remove(&sql);
            }
        }
        self.prepared.insert(sql.to_owned(), (prepared.clone(), self.turn));
        Ok(prepared)
    }

    /// Without its client a connection ends; a listener has nothing to ask any more.
    pub(super) fn stays_open(self) {
        let client = self.client;
        tokio::spawn(async move {
            // The connection's own task ends it when nobody listens, or the server does.
            while !client.is_closed() {
                tokio::time::sleep(PATIENCE).await;
            }
        });
    }
}

type Step<'a> = Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + Send + 'a>>;

/// Sends all, then waits for all. The first error is the one that says why.
async fn pipelined(mut steps: Vec<Step<'_>>) -> Result<Vec<Outcome>, StoreError> {
    let mut ended: Vec<Option<Result<Outcome, StoreError>>> = Vec::with_capacity(steps.len());
    // A query goes out when it is polled first; none of these waits for another.
    std::future::poll_fn(|context| {
        ended.extend(steps.iter_mut().map(|step| match step.as_mut().poll(context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }));
        Poll::Ready(())
    })
    .await;
    let mut outcomes = Vec::with_capacity(steps.len());
    let mut why = None;
    for (step, ended) in steps.into_iter().zip(ended) {
        let result = match ended {
            Some(result) => result,
            None => step.await,
        };
        match result {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => why = why.or(Some(error)),
        }
    }
    why.map_or(Ok(outcomes), Err)
}

async fn control(client: &Client, sql: &'static str) -> Result<Outcome, StoreError> {
    client.batch_execute(sql).await.map(|()| Outcome::default()).map_err(gone)
}

async fn run(
    client: &Client,
    prepared: &tokio_postgres::Statement,
    statement: &Statement,
) -> Result<Outcome, StoreError> {
    let values: Vec<&(dyn ToSql + Sync)> =
        statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    if prepared.columns().is_empty() {
        let changed = client.execute(prepared, &values).await.map_err(gone)?;
        return Ok(Outcome { changed, rows: Vec::new() });
    }
    let rows = client.query(prepared, &values).await.map_err(gone)?;
    let rows: Result<Vec<Row>, _> = rows
        .iter()
        .map(|row| (0..row.len()).map(|column| row.try_get(column)).collect())
        .map(|values: Result<Vec<Value>, _>| values.map(Row))
        .collect();
    let rows = rows.map_err(gone)?;
    Ok(Outcome { changed: rows.len() as u64, rows })
}
