//! Tests of the backend, on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod authority;
mod backend_config;
mod clocks;
mod http;
mod ingest;
mod integrations;
mod notifications;
mod operations;
mod proxies;
mod store;
mod support;
