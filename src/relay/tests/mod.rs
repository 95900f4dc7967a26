mod bulk;
mod ends;
mod support;
mod tls;
mod waits;
