//! Running out of descriptors, signals, draining.
