//! Integrations: routes, captured events, and carrier lists.

mod capture;
mod described;
mod kept;
mod routes;
mod site;
mod story;
