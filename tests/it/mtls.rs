//! Termination with client certificates: who comes in, and what the others see.
