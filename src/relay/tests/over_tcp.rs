//! The real client over real sockets.
