//! A name service for one test, and a ronde that uses only this service.
//!
//! The problem: one file configures the resolver for the whole machine, and the resolver always asks port 53. So ronde
//! starts in a mount namespace with its own `/etc/resolv.conf`, and each service has a loopback address of its own:
//! tests run in parallel, and the machine's resolver is not touched. Both need root, as in CI.
//!
//! The service understands queries for A and AAAA (RFC 1035 §4.1).
//!
//! Not here: anything else a name server does.

use super::origin::Port;
use super::proxy::Ronde;
use super::scratch_directory;
use std::collections::HashMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// The service's reply about a name. A name without one is NXDOMAIN.
#[derive(Clone, Debug)]
pub enum DnsReply {
    Addresses(Vec<IpAddr>),
    ServFail,
    Silent,
    /// The first about A, the second about AAAA.
    Halves(Box<[DnsReply; 2]>),
}

pub struct NameService {
    ip: Ipv4Addr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    names: HashMap<String, DnsReply>,
    asked: Vec<(Instant, String)>,
    is_over: bool,
}

/// Mounts the test's files over the machine's, for this process and its children only.
const IN_A_NAMESPACE: &str = r#"
    mount --bind "$0/resolv.conf" /etc/resolv.conf || exit
    [ ! -e /etc/nsswitch.conf ] || mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf || exit
    exec "$@""#;

impl NameService {
    /// `None`, and a line on standard error, where this is not permitted. In CI that is a failure.
    pub fn start() -> Option<NameService> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let ip = Ipv4Addr::new(127, 64 + high % 64, low, 8 * NEXT.fetch_add(1, Ordering::Relaxed) + 1);
        let attempt = Command::new("unshare").args(["--mount", "true"]).status();
        let permitted = attempt.is_ok_and(|status| status.success());
        let socket = UdpSocket::bind((ip, 53)).ok().filter(|_| permitted);
        let Some(socket) = socket else {
            let why = "SKIPPED: a mount namespace and port 53 need root, so following names was NOT tested";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            // Not `println!`, whose output is captured: a skip must be visible.
            let _ = writeln!(std::io::stderr(), "{why}");
            return None;
        };
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || serve(&socket, &shared));
        Some(NameService { ip, state })
    }

    pub fn set(&self, name: &str, reply: DnsReply) {
        self.state.lock().unwrap().names.insert(name.to_owned(), reply);
    }

    /// From now on the name resolves to these addresses.
    pub fn knows<const COUNT: usize>(&self, name: &str, addresses: [IpAddr; COUNT]) {
        self.set(name, DnsReply::Addresses(addresses.to_vec()));
    }

    /// From now on there is no such name.
    pub fn forgets(&self, name: &str) {
        self.state.lock().unwrap().names.remove(name);
    }

    /// How many A queries for the name came since `then`.
    pub fn asked_since(&self, then: Instant, name: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(when, asked)| *when >= then && asked == name).count()
    }

    /// Another loopback address of this test alone; `number` is 1 to 6.
    pub fn neighbour(&self, number: u8) -> IpAddr {
        let [a, b, c, d] = self.ip.octets();
        Ipv4Addr::new(a, b, c, d + number).into()
    }

    /// The same port number on two of the test's own addresses and on `::1`.
    pub fn ports(&self) -> [Port; 3] {
        for _ in 0..100 {
            let first = Port::at((self.neighbour(1), 0).into()).expect("a free port");
            let same = |ip: IpAddr| Port::at(SocketAddr::new(ip, first.address.port()));
            if let (Ok(second), Ok(third)) = (same(self.neighbour(2)), same(Ipv6Addr::LOCALHOST.into())) {
                return [first, second, third];
            }
        }
        panic!("no port is free on three addresses")
    }

    /// A ronde that uses this service. `options` is a line of resolv.conf(5), such as the resolver's timeouts.
    pub fn ronde(&self, options: &str, flags: &str) -> Ronde {
        let directory = scratch_directory();
        let resolv = format!("nameserver {}\n{options}\n", self.ip);
        std::fs::write(directory.join("resolv.conf"), resolv).expect("resolv.conf");
        std::fs::write(directory.join("nsswitch.conf"), "hosts: dns\n").expect("nsswitch.conf");
        let inner = Ronde::with(&format!("--listen 127.0.0.1:0 {flags}")).0;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", IN_A_NAMESPACE]).arg(directory);
        command.arg(inner.get_program()).args(inner.get_args());
        for (name, _) in inner.get_envs() {
            command.env_remove(name);
        }
        Ronde(command)
    }
}

impl Drop for NameService {
    fn drop(&mut self) {
        if let Ok(mut state) = self.state.lock() {
            state.is_over = true;
        }
        let socket = UdpSocket::bind((self.ip, 0)).expect("a socket");
        let _already_gone = socket.send_to(&[], (self.ip, 53));
    }
}

fn serve(socket: &UdpSocket, state: &Mutex<State>) {
    let mut question = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut question) {
        let mut state = state.lock().unwrap();
        if state.is_over {
            return;
        }
        if let Some(answer) = answer(&question[..length], &mut state) {
            let _resolver_is_gone = socket.send_to(&answer, from);
        }
    }
}

fn answer(question: &[u8], state: &mut State) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut labels = Vec::new();
    let mut at = HEADER;
    while let length @ 1.. = usize::from(*question.get(at)?) {
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
    let name = labels.join(".");
    let (kind, end) = (u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]), at + 5);
    if kind == 1 {
        state.asked.push((Instant::now(), name.clone()));
    }
    let reply = match state.names.get(&name) {
        Some(DnsReply::Halves(halves)) => Some(&halves[usize::from(kind == 28)]),
        reply => reply,
    };
    let (code, addresses) = match reply {
        Some(DnsReply::Addresses(addresses)) => (0, addresses.clone()),
        Some(DnsReply::ServFail) => (2, Vec::new()),
        Some(DnsReply::Silent | DnsReply::Halves(_)) => return None,
        None => (3, Vec::new()),
    };
    let of_kind: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (kind, address) {
            (1, IpAddr::V4(address)) => Some(address.octets().to_vec()),
            (28, IpAddr::V6(address)) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    // The id; flags: response, recursion desired and available; one question; the number of answers.
    let mut answer = [question.get(..2)?, &[0x81, 0x80 | code, 0, 1, 0, of_kind.len() as u8]].concat();
    answer.extend([0; 4]);
    answer.extend(question.get(HEADER..end)?);
    for address in of_kind {
        // A pointer to the question's name, the type, class IN, TTL 0.
        answer.extend(
            [&[0xc0, 12], &kind.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, address.len() as u8]].concat(),
        );
        answer.extend(address);
    }
    Some(answer)
}
