//! What a scanner or a tag's reader gave → [`code::Code`]: which parcel it names, and how sure that is.
//!
//! ```text
//! bytes → aim → gs1 (element strings, Digital Links) or carrier (shapes of numbers) → check → candidates
//! hex   → epc → candidate
//! ```
//!
//! A wrong check digit warns and drops nothing: carriers print numbers that fail their own. What a code means is
//! decided by the manifest first ([`code::Code::known`]), then by the AIM identifier, then by the check digit.

mod ai;
mod aim;
mod carrier;
mod check;
pub mod code;
pub mod epc;
mod gs1;
mod kind;
mod uri;
