//! TLS sessions as the rest of the crate has them.

use tokio_rustls::{client, server};

use crate::net::{TlsSession, Transport};

impl TlsSession for server::TlsStream<Transport> {
    fn transport(&self) -> &Transport {
        self.get_ref().0
    }

    fn has_unsent_records(&self) -> bool {
        self.get_ref().1.wants_write()
    }

    fn into_transport(self: Box<Self>) -> Transport {
        self.into_inner().0
    }
}

impl TlsSession for client::TlsStream<Transport> {
    fn transport(&self) -> &Transport {
        self.get_ref().0
    }

    fn has_unsent_records(&self) -> bool {
        self.get_ref().1.wants_write()
    }

    fn into_transport(self: Box<Self>) -> Transport {
        self.into_inner().0
    }
}
