//! Every page in a real browser, and the complete course of a parcel from its number to its proof
//! of delivery.

mod access;
mod pages;
mod pictures;
mod story;
mod streams;
mod tiles;
mod van;
mod world;
