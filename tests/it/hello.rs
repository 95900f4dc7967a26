//! How a client's first bytes are taken, whatever way they come.
