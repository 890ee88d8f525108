//! One PostgreSQL connection: prepares statements once and pipelines transactions.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::{CONNECT_TIMEOUT, map_pg_error};
use crate::store::StoreError;
use crate::store::sql::{QueryResult, Row, Statement, Value};

/// Maximum number of prepared statements per connection.
const MAX_PREPARED: usize = 256;

/// A connection with its prepared statements.
#[derive(Debug)]
pub(super) struct PgConnection {
    pub(super) client: Client,
    /// Prepared statements with the counter value of their last use.
    prepared: HashMap<String, (tokio_postgres::Statement, u64)>,
    use_counter: u64,
}

/// Spawns the task that drives a connection and forwards its notifications.
pub(super) fn spawn_connection<S>(
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

impl PgConnection {
    pub(super) fn new(client: Client) -> Self {
        Self { client, prepared: HashMap::new(), use_counter: 0 }
    }

    /// Runs statements in one pipeline. The last one is COMMIT, which rolls back after a rejected
    /// statement.
    pub(super) async fn transact(
        &mut self,
        statements: &[Statement],
    ) -> Result<Vec<QueryResult>, StoreError> {
        let mut prepared = Vec::with_capacity(statements.len());
        for statement in statements {
            prepared.push(self.prepare(statement).await?);
        }
        let client = &self.client;
        let mut steps: Vec<StatementFuture<'_>> = Vec::with_capacity(statements.len() + 2);
        steps.push(Box::pin(run_control(client, "BEGIN")));
        for (statement, prepared) in statements.iter().zip(&prepared) {
            steps.push(Box::pin(run(client, prepared, statement)));
        }
        steps.push(Box::pin(run_control(client, "COMMIT")));
        let mut outcomes = run_pipelined(steps).await?;
        outcomes.pop();
        outcomes.remove(0);
        Ok(outcomes)
    }

    pub(super) async fn query(&mut self, statement: &Statement) -> Result<QueryResult, StoreError> {
        let prepared = self.prepare(statement).await?;
        run(&self.client, &prepared, statement).await
    }

    /// Prepares a statement and checks its values against the parameter types. A mismatch detected
    /// within a pipelined transaction would leave the statement out of it.
    async fn prepare(
        &mut self,
        statement: &Statement,
    ) -> Result<tokio_postgres::Statement, StoreError> {
        let prepared = self.prepare_text(&statement.sql).await?;
        let places = prepared.params();
        let values = &statement.values;
        if values.len() != places.len() {
            let (given, places) = (values.len(), places.len());
            return Err(StoreError::Rejected(format!("{given} values for {places} parameters")));
        }
        let odd = values.iter().zip(places).position(|(value, place)| !value.fits(place));
        odd.map_or(Ok(prepared.clone()), |index| {
            let place = &places[index];
            Err(StoreError::Rejected(format!("parameter ${} is not of type {place}", index + 1)))
        })
    }

    async fn prepare_text(&mut self, sql: &str) -> Result<tokio_postgres::Statement, StoreError> {
        self.use_counter += 1;
        if let Some((prepared, used)) = self.prepared.get_mut(sql) {
            *used = self.use_counter;
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(sql).await.map_err(map_pg_error)?;
        let odd = prepared.columns().iter().find(|column| !Value::is_supported(column.type_()));
        if let Some(column) = odd {
            return Err(StoreError::Rejected(format!(
                "column {} has type {}; cast it to a type of the store",
                column.name(),
                column.type_()
            )));
        }
        if self.prepared.len() >= MAX_PREPARED {
            let oldest = self.prepared.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(sql) = oldest.map(|(sql, _)| sql.clone()) {
                self.prepared.remove(&sql);
            }
        }
        self.prepared.insert(sql.to_owned(), (prepared.clone(), self.use_counter));
        Ok(prepared)
    }

    /// Keeps the client of a listening connection, since dropping it would close the connection.
    pub(super) fn keep_open(self) {
        let client = self.client;
        tokio::spawn(async move {
            // The driving task ends when the receiver or the server is gone.
            while !client.is_closed() {
                tokio::time::sleep(CONNECT_TIMEOUT).await;
            }
        });
    }
}

type StatementFuture<'a> =
    Pin<Box<dyn Future<Output = Result<QueryResult, StoreError>> + Send + 'a>>;

/// Sends all statements, then waits for all results. The first error is the cause.
async fn run_pipelined(
    mut steps: Vec<StatementFuture<'_>>,
) -> Result<Vec<QueryResult>, StoreError> {
    let mut ended: Vec<Option<Result<QueryResult, StoreError>>> = Vec::with_capacity(steps.len());
    // A query is sent on its first poll; none of these waits for another.
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

async fn run_control(client: &Client, sql: &'static str) -> Result<QueryResult, StoreError> {
    client.batch_execute(sql).await.map(|()| QueryResult::default()).map_err(map_pg_error)
}

async fn run(
    client: &Client,
    prepared: &tokio_postgres::Statement,
    statement: &Statement,
) -> Result<QueryResult, StoreError> {
    let values: Vec<&(dyn ToSql + Sync)> =
        statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    if prepared.columns().is_empty() {
        let changed = client.execute(prepared, &values).await.map_err(map_pg_error)?;
        return Ok(QueryResult { rows_affected: changed, rows: Vec::new() });
    }
    let rows = client.query(prepared, &values).await.map_err(map_pg_error)?;
    let rows: Result<Vec<Row>, _> = rows
        .iter()
        .map(|row| (0..row.len()).map(|column| row.try_get(column)).collect())
        .map(|values: Result<Vec<Value>, _>| values.map(Row))
        .collect();
    let rows = rows.map_err(map_pg_error)?;
    Ok(QueryResult { rows_affected: rows.len() as u64, rows })
}
