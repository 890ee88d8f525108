//! `POST /api/v1/vans/{van}/commands` → a command that waits for its van.
