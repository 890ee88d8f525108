//! Real ptys and sockets, on the world's clock.
