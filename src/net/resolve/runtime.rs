//! Sockets for the DNS library, which knows no interfaces.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use socket2::SockRef;

use crate::addr::{Zone, ZonedAddr};
use crate::net::zone;

/// The library's own sockets; where the server has a link-local address, on its interface.
#[derive(Clone)]
pub(super) struct Runtime {
    own: TokioRuntimeProvider,
    zone: Option<Zone>,
}

impl Runtime {
    pub(super) fn new(zone: Option<Zone>) -> Self {
        Self {
            own: TokioRuntimeProvider::default(),
            zone,
        }
    }
}

impl RuntimeProvider for Runtime {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.own.create_handle()
    }

    fn connect_tcp(
        &self,
        server_addr: SocketAddr,
        bind_addr: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Tcp, io::Error>>>> {
        let located = match (&self.zone, server_addr.ip()) {
            (Some(zone), IpAddr::V6(ip)) => zone::locate(&ZonedAddr {
                ip,
                zone: zone.clone(),
                port: server_addr.port(),
            }),
            _ => Ok(server_addr),
        };
        match located {
            Ok(addr) => self.own.connect_tcp(addr, bind_addr, timeout),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn bind_udp(
        &self,
        local_addr: SocketAddr,
        server_addr: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = Result<Self::Udp, io::Error>>>> {
        let Some(zone) = self.zone.clone() else {
            return self.own.bind_udp(local_addr, server_addr);
        };
        let bound = self.own.bind_udp(local_addr, server_addr);
        Box::pin(async move {
            let socket = bound.await?;
            // The library sends to an address without an interface, and the kernel then takes that
            // of the socket.
            SockRef::from(&socket).bind_device(Some(zone::name_of(&zone)?.as_bytes()))?;
            Ok(socket)
        })
    }
}
