//! Pools of connections, one for each kind of work, so that none waits for another.
//!
//! - A request fails within seconds if a table is locked: its statements have a lock timeout, and
//!   the time it waits for a connection is limited. All limits together are below the time limit of
//!   a response (`http::middleware`).
//! - Ingestion has connections of its own, because its transactions wait as long as they must.
//! - A connection whose statement was abandoned midway is closed, since the next user would wait
//!   for the result of that statement.

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool as ManagedPool, PoolError, RecycleError, RecycleResult,
};

use super::{
    CONNECT_TIMEOUT, Client, ConnectionUrl, NoTls, Notifications, PgConnection, StoreError,
    Workload, describe_error, map_pg_error, open_to_unavailable, spawn_connection,
};

/// Session settings for schema changes, which may rewrite a table.
pub(super) const SCHEMA_SETTINGS: &str =
    "SET statement_timeout = 0; SET client_min_messages = warning";

/// Connections for the queries of requests.
const REQUEST_READS: PoolLimits = PoolLimits {
    size: 8,
    wait: REQUEST_WAIT,
    settings: "SET statement_timeout = '10s'; SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '20s'; SET client_min_messages = warning",
};

/// Connections for the changes of requests, including entries of the audit log.
const REQUEST_WRITES: PoolLimits = PoolLimits { size: 6, ..REQUEST_READS };

/// Connections of the consumer, which writes one batch at a time.
const INGEST: PoolLimits = PoolLimits {
    size: 3,
    wait: Duration::from_secs(60),
    settings: "SET statement_timeout = '60s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning",
};

/// Connections of all other tasks.
const BACKGROUND: PoolLimits = PoolLimits { size: 6, ..INGEST };

/// Maximum time that a request waits for a connection.
const REQUEST_WAIT: Duration = Duration::from_secs(3);

/// Maximum time for the answer of a connection whose statement failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
struct PoolLimits {
    size: usize,
    /// Maximum time to wait for a connection.
    wait: Duration,
    /// Settings of each session.
    settings: &'static str,
}

/// All pools of an instance. Connections are opened when they are needed.
#[derive(Debug)]
pub(super) struct Pools {
    request_reads: Pool,
    request_writes: Pool,
    ingest: Pool,
    background: Pool,
}

impl Pools {
    pub(super) fn new(address: &Arc<ConnectionUrl>) -> Self {
        let pool = |limits| Pool::new(address, limits);
        Self {
            request_reads: pool(REQUEST_READS),
            request_writes: pool(REQUEST_WRITES),
            ingest: pool(INGEST),
            background: pool(BACKGROUND),
        }
    }

    pub(super) fn reading(&self, workload: Workload) -> &Pool {
        match workload {
            Workload::Requests => &self.request_reads,
            other => self.writing(other),
        }
    }

    pub(super) fn writing(&self, workload: Workload) -> &Pool {
        match workload {
            Workload::Requests => &self.request_writes,
            Workload::Ingest => &self.ingest,
            Workload::Background => &self.background,
        }
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    connections: ManagedPool<Connector>,
    wait: Duration,
}

impl Pool {
    fn new(address: &Arc<ConnectionUrl>, limits: PoolLimits) -> Self {
        let connections =
            ManagedPool::builder(Connector::new(Arc::clone(address), limits.settings))
                .max_size(limits.size)
                .wait_timeout(Some(limits.wait))
                .create_timeout(Some(CONNECT_TIMEOUT))
                .runtime(Runtime::Tokio1)
                .build()
                .expect("a runtime for the timeouts is set");
        Self { connections, wait: limits.wait }
    }

    /// Takes an idle connection, opens one, or waits for one.
    pub(super) async fn acquire(&self) -> Result<Lease, StoreError> {
        match self.connections.get().await {
            Ok(object) => {
                let was_idle = Object::metrics(&object).recycle_count > 0;
                Ok(Lease { object: Some(object), was_idle })
            }
            Err(PoolError::Backend(error)) => Err(open_to_unavailable(error)),
            Err(PoolError::Timeout(_)) => Err(StoreError::Unavailable(format!(
                "no connection to the server within {} s",
                self.wait.as_secs()
            ))),
            Err(other) => Err(StoreError::Unavailable(other.to_string())),
        }
    }
}

/// A connection in use. It is closed on drop unless it was given back.
pub(super) struct Lease {
    object: Option<Object<Connector>>,
    /// Whether the connection was used before.
    pub(super) was_idle: bool,
}

impl Lease {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.object.as_mut().expect("the connection is given back last")
    }

    /// Returns the connection to its pool after a result. After an outage it is closed unless the
    /// server still answers on it, as it does after a timeout of a lock or statement. Returns
    /// whether the connection is usable.
    pub(super) async fn give_back<T>(&mut self, result: &Result<T, StoreError>) -> bool {
        let Some(object) = &self.object else { return false };
        if matches!(result, Err(StoreError::Unavailable(_))) {
            let answer = tokio::time::timeout(PROBE_TIMEOUT, object.client.batch_execute(""));
            if !matches!(answer.await, Ok(Ok(()))) {
                self.object.take().map(Object::take);
                return false;
            }
        }
        self.object = None;
        true
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.object.take().map(Object::take);
    }
}

/// Opens connections with the settings of one pool.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    address: Arc<ConnectionUrl>,
    settings: &'static str,
}

impl Manager for Connector {
    type Type = PgConnection;
    type Error = StoreError;

    async fn create(&self) -> Result<PgConnection, StoreError> {
        self.connect().await
    }

    async fn recycle(
        &self,
        connection: &mut PgConnection,
        _: &Metrics,
    ) -> RecycleResult<StoreError> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection was lost while idle"));
        }
        Ok(())
    }
}

impl Connector {
    pub(super) const fn new(address: Arc<ConnectionUrl>, settings: &'static str) -> Self {
        Self { address, settings }
    }

    /// Server hosts for error messages, without the password.
    pub(super) fn display_hosts(&self) -> String {
        format!("{:?}", self.address.config.get_hosts())
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        let client = match self.address.tls.clone() {
            None => spawn_connection(self.address.config.connect(NoTls).await, None),
            Some(tls) => spawn_connection(self.address.config.connect(tls).await, None),
        };
        self.init_session(client).await
    }

    /// Listens on a channel until the connection is lost. No notification after the return of this
    /// call is missed.
    pub(super) async fn listen(&self, channel: &str) -> Result<Notifications, StoreError> {
        let (sender, notifications) = tokio::sync::mpsc::unbounded_channel();
        let listening = Some(sender);
        let client = match self.address.tls.clone() {
            None => spawn_connection(self.address.config.connect(NoTls).await, listening),
            Some(tls) => spawn_connection(self.address.config.connect(tls).await, listening),
        };
        let connected = self.init_session(client).await?;
        connected.client.batch_execute(&format!("LISTEN {channel}")).await.map_err(map_pg_error)?;
        connected.keep_open();
        Ok(notifications)
    }

    async fn init_session(
        &self,
        client: Result<Client, tokio_postgres::Error>,
    ) -> Result<PgConnection, StoreError> {
        let client = client.map_err(|error| self.map_connect_error(&error))?;
        client.batch_execute(self.settings).await.map_err(map_pg_error)?;
        Ok(PgConnection::new(client))
    }

    /// An error reported by the server requires an operator, unless its class is transient.
    pub(super) fn map_connect_error(&self, error: &tokio_postgres::Error) -> StoreError {
        const TRANSIENT: [&str; 3] = ["57", "53", "08"];
        match error.code() {
            Some(code) if !TRANSIENT.iter().any(|class| code.code().starts_with(class)) => {
                StoreError::Open { place: self.display_hosts(), error: describe_error(error) }
            }
            _ => StoreError::Unavailable(describe_error(error)),
        }
    }
}
