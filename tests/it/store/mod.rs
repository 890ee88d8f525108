//! One suite for both stores: what `waypost::backend::store` promises holds on SQLite and on PostgreSQL.

mod engine;
