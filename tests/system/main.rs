//! Tests of the whole product: browser, demo, packages and documentation.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod browser;
mod demo;
mod hazards;
mod package;
mod pages;
mod support;
