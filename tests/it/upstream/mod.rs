//! What comes from upstream: routes, captured events, lists of carriers.

mod capture;
mod described;
mod kept;
mod routes;
mod site;
mod story;
