//! One configuration after another, without losing a connection.
