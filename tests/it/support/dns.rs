//! A DNS server that says what a test wants it to say, or nothing.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use crate::support::PATIENCE;

pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;

/// What it does with a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Answers,
    /// Nothing ever comes back.
    Silent,
    /// SERVFAIL.
    Fails,
    /// Over UDP it says that the answer is too long.
    Truncates,
}

/// A server on UDP and TCP. Its threads end with the test process.
pub(crate) struct Dns {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    asked: Condvar,
}

#[derive(Default)]
struct Zone {
    mood: Mood,
    /// Of single names and types, instead of the server's.
    moods: HashMap<(String, u16), Mood>,
    records: HashMap<(String, u16), Records>,
    questions: Vec<(String, u16)>,
}

/// The data of each record, and for how many seconds it holds.
type Records = (Vec<Vec<u8>>, u32);

impl Dns {
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same, at an address of the test's choice.
    pub(crate) fn start_at(addr: SocketAddr) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind(addr).unwrap();
            // Somebody else may have the same port for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let (addr, shared) = (udp.local_addr().unwrap(), Arc::<Shared>::default());
        let (over_udp, over_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, client)) = udp.recv_from(&mut question) {
                if let Some(answer) = over_udp.answer(&question[..length], true) {
                    let _ = udp.send_to(&answer, client);
                }
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&over_tcp);
                thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { addr, shared }
    }

    /// The table of a configuration that asks this server. More keys may follow.
    pub(crate) fn table(&self) -> String {
        format!("[resolver]\nservers = \"{}\"\n", self.addr)
    }

    /// From now on the name has these addresses, for so many seconds.
    pub(crate) fn set(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ip in addresses.iter().map(|ip| ip.parse::<IpAddr>().unwrap()) {
            match ip {
                IpAddr::V4(ip) => v4.push(ip.octets().to_vec()),
                IpAddr::V6(ip) => v6.push(ip.octets().to_vec()),
            }
        }
        let mut zone = self.shared.zone.lock().unwrap();
        zone.records.insert((name.to_owned(), A), (v4, ttl));
        zone.records.insert((name.to_owned(), AAAA), (v6, ttl));
    }

    /// From now on there is no such name.
    pub(crate) fn remove(&self, name: &str) {
        self.shared
            .zone
            .lock()
            .unwrap()
            .records
            .retain(|(known, _), _| known != name);
    }

    /// From now on these provide the service: priority, weight, port and host.
    pub(crate) fn set_services(&self, name: &str, targets: &[(u16, u16, u16, &str)]) {
        self.set_services_for(name, 1, targets);
    }

    /// The same, for so many seconds.
    pub(crate) fn set_services_for(&self, name: &str, ttl: u32, targets: &[(u16, u16, u16, &str)]) {
        let data = |(priority, weight, port, host): &(u16, u16, u16, &str)| {
            let mut data = [
                priority.to_be_bytes(),
                weight.to_be_bytes(),
                port.to_be_bytes(),
            ]
            .concat();
            for label in host.split('.').filter(|label| !label.is_empty()) {
                data.push(u8::try_from(label.len()).unwrap());
                data.extend(label.bytes());
            }
            data.push(0);
            data
        };
        let data = targets.iter().map(data).collect();
        self.shared
            .zone
            .lock()
            .unwrap()
            .records
            .insert((name.to_owned(), SRV), (data, ttl));
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.shared.zone.lock().unwrap().mood = mood;
    }

    /// The same, when it is asked for this.
    pub(crate) fn be_to(&self, name: &str, record: u16, mood: Mood) {
        self.shared
            .zone
            .lock()
            .unwrap()
            .moods
            .insert((name.to_owned(), record), mood);
    }

    /// How often it was asked for this name, whatever it answered.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.shared
            .zone
            .lock()
            .unwrap()
            .questions
            .iter()
            .filter(|(asked, _)| asked == name)
            .count()
    }

    /// The same for records of one type. Of a name without them that is known for a few seconds
    /// only.
    pub(crate) fn asked_for(&self, name: &str, record: u16) -> usize {
        let is_it = |(asked, kind): &&(String, u16)| asked == name && *kind == record;
        self.shared
            .zone
            .lock()
            .unwrap()
            .questions
            .iter()
            .filter(is_it)
            .count()
    }

    /// Waits until it has been asked for this.
    pub(crate) fn wait_until_asked(&self, name: &str, record: u16) {
        let limit = Instant::now() + PATIENCE;
        let mut zone = self.shared.zone.lock().unwrap();
        while !zone
            .questions
            .iter()
            .any(|(asked, kind)| asked == name && *kind == record)
        {
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody asks for {name}");
            zone = self.shared.asked.wait_timeout(zone, left).unwrap().0;
        }
    }
}

/// Each message has its length before it (RFC 1035 §4.2.2).
fn serve(shared: &Shared, mut stream: TcpStream) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        if stream.read_exact(&mut question).is_err() {
            return;
        }
        if let Some(answer) = shared.answer(&question, false) {
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            let _ = stream.write_all(&[&length, answer.as_slice()].concat());
        }
    }
}

impl Shared {
    fn answer(&self, question: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        let (mut name, mut at) = (Vec::new(), 12);
        while question[at] != 0 {
            let end = at + 1 + usize::from(question[at]);
            name.push(String::from_utf8_lossy(&question[at + 1..end]).to_ascii_lowercase());
            at = end;
        }
        let (name, end) = (name.join("."), at + 5);
        let record = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let mut zone = self.zone.lock().unwrap();
        zone.questions.push((name.clone(), record));
        self.asked.notify_all();
        let key = (name, record);
        let mood = *zone.moods.get(&key).unwrap_or(&zone.mood);
        let is_known = zone.records.keys().any(|(known, _)| *known == key.0);
        let (data, ttl) = zone.records.get(&key).cloned().unwrap_or_default();
        let truncates = mood == Mood::Truncates && is_udp;
        let data = if mood == Mood::Fails || truncates {
            Vec::new()
        } else {
            data
        };
        let code = match mood {
            Mood::Silent => return None,
            Mood::Fails => 2,
            _ if is_known => 0,
            _ => 3,
        };
        // Id, an answer of a server that recurses, one question, so many answers.
        let flags = [0x81 | if truncates { 2 } else { 0 }, 0x80 | code];
        let count = u16::try_from(data.len()).unwrap().to_be_bytes();
        let mut answer = [
            &question[..2],
            &flags,
            &[0, 1],
            &count,
            &[0; 4],
            &question[12..end],
        ]
        .concat();
        for data in data {
            // The name of the question, its type, the internet.
            answer.extend(
                [0xc0, 12]
                    .iter()
                    .chain(&record.to_be_bytes())
                    .chain(&[0, 1])
                    .chain(&ttl.to_be_bytes()),
            );
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}
