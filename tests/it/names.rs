//! Which route and which certificate a server name leads to, on strict and other routes.
