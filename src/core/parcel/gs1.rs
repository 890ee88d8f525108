//! Element strings and Digital Links → elements.

pub(super) fn elements(_payload: &str) -> Vec<(&'static str, String)> {
    Vec::new()
}
