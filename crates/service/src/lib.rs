//! Building blocks of both daemons: clock, backoff, liveness, service manager, TLS files, `OpenMetrics`, exit codes.

pub mod backoff;
pub mod clock;
pub mod exit;
pub mod liveness;
pub mod logging;
pub mod openmetrics;
pub mod pem;
pub mod sd_notify;
pub mod task;
