//! Integrations: routes, captured events, and carrier lists.

mod capture;
mod epcis;
mod openapi;
mod queries;
mod routes;
mod site;
mod stored;
mod story;
mod verdict;
