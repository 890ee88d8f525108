//! What comes from upstream: routes, captured events, lists of carriers.

mod capture;
mod kept;
mod routes;
mod site;
