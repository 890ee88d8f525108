//! Decodes scanned codes and RFID tags into candidate parcel numbers.
//!
//! ```text
//! bytes → aim → gs1 (element strings, links) or carrier (formats) → check digit → candidates
//! hex   → epc → candidate
//! ```
//!
//! A wrong check digit is reported, not rejected: carriers print numbers that fail their own check.
//! The manifest decides first what a code means (`known`), then the AIM identifier,
//! then the check digit.

mod ai;
mod aim;
mod carrier;
mod check_digit;
pub mod code;
mod code_kind;
pub mod epc;
mod gs1;
mod uri;
