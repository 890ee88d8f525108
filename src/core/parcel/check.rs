//! Digits → whether the check digit fits.
