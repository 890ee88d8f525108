//! Every page in a real browser, and the whole story of a parcel: from its number to its proof.

mod access;
mod pages;
mod pictures;
mod story;
mod streams;
mod tiles;
mod van;
mod world;
