//! What comes from upstream: routes, captured events, lists of carriers.

mod kept;
