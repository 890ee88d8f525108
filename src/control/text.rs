//! [`Status`] for people.
use super::status::Status;
/// s
pub fn summary(_: &Status) -> String {
    String::new()
}
/// s
pub fn text(_: &Status) -> String {
    String::new()
}
