//! The program under test: always the real binary in its own process, or a peer for comparison.

use super::message::Message;
use super::peers::Peer;
use super::process::Process;
use super::tls;
use super::wire::Wire;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A command line of ronde, not yet started.
pub struct Ronde(pub Command);

impl Ronde {
    /// Flags are separated by spaces.
    pub fn with(flags: &str) -> Ronde {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ronde"));
        command.args(flags.split_whitespace());
        Ronde::without_environment(command)
    }

    /// The same, with a limit of open files.
    pub fn with_descriptors(limit: usize, flags: &str) -> Ronde {
        let mut command = Command::new("sh");
        let line = format!("ulimit -n {limit}; exec {} {flags}", env!("CARGO_BIN_EXE_ronde"));
        command.args(["-c", &line]);
        Ronde::without_environment(command)
    }

    /// A `RONDE_` variable of the machine must not change a test.
    fn without_environment(mut command: Command) -> Ronde {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RONDE_")) {
            command.env_remove(name);
        }
        Ronde(command)
    }

    pub fn env(mut self, name: &str, value: &str) -> Ronde {
        self.0.env(name, value);
        self
    }

    pub fn spawn(mut self) -> Process {
        Process::spawn(&mut self.0)
    }

    /// Starts it and waits until it listens.
    pub fn serve(self) -> Proxy {
        Proxy::of(self.spawn())
    }
}

pub struct Proxy {
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    /// The first of those without TLS.
    pub plain: SocketAddr,
    pub with_tls: Vec<SocketAddr>,
    pub process: Process,
}

impl Proxy {
    pub fn start(backends: &[SocketAddr]) -> Proxy {
        Proxy::with("", backends)
    }

    /// `flags` are ronde's. A peer gets those that it has an equivalent for.
    pub fn with(flags: &str, backends: &[SocketAddr]) -> Proxy {
        if let Some(peer) = Peer::chosen() {
            let (process, address) = peer.start(flags, backends);
            return Proxy {
                address,
                addresses: vec![address],
                plain: address,
                with_tls: Vec::new(),
                process,
            };
        }
        Ronde::with(&line(flags, backends)).serve()
    }

    /// A ronde that listens with TLS as well.
    pub fn with_tls(flags: &str, backends: &[SocketAddr]) -> Proxy {
        let flags = if tls::is_on() { flags.to_owned() } else { format!("{} {flags}", tls::flags()) };
        Ronde::with(&line(&flags, backends)).serve()
    }

    /// A ronde with a limit of open files. 24 are for listeners, epoll and the like; the others are for clients and backends
    /// alike.
    pub fn with_descriptors(limit: usize, flags: &str, backends: &[SocketAddr]) -> Proxy {
        Ronde::with_descriptors(limit, &line(flags, backends)).serve()
    }

    /// Waits until this ronde listens, and reads its addresses from its log.
    pub fn of(process: Process) -> Proxy {
        let line = process.stderr.line_with("listening on ");
        let parse = |word: &str| word.trim_matches([',', ';']).parse().ok();
        let listed = |behind: &str| -> Vec<SocketAddr> {
            let listed = line.split_once(behind).map_or("", |(_, listed)| listed);
            listed.split_whitespace().map_while(parse).collect()
        };
        let mut addresses = listed("listening on ");
        addresses.iter().copied().for_each(tls::forget_secured);
        let plain = *addresses.first().expect("an address");
        let with_tls = listed("; with TLS on ");
        with_tls.iter().copied().for_each(tls::note_secured);
        if tls::is_on() && !with_tls.is_empty() {
            addresses.clone_from(&with_tls);
        }
        Proxy { plain, with_tls, address: *addresses.first().expect("an address"), addresses, process }
    }

    pub fn is_a_peer() -> bool {
        Peer::chosen().is_some()
    }

    pub fn url(&self, target: &str) -> String {
        let scheme = if self.with_tls.contains(&self.address) { "https" } else { "http" };
        format!("{scheme}://{}{target}", self.address)
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    pub fn connect_tls(&self) -> Wire {
        Wire::connect_tls(self.with_tls[0])
    }

    /// `GET target` on a connection of its own.
    pub fn get(&self, target: &str) -> Message {
        self.connect().get(target)
    }

    /// A request and its response on a connection of their own.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Message {
        self.connect().ask(request)
    }

    /// Sends bytes that must be refused: with one of these statuses, and with the end of the connection after it.
    pub fn expect_refusal(&self, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Message {
        let mut client = self.connect();
        let response = client.ask(bytes);
        assert!(statuses.contains(&response.status()), "{} instead of {statuses:?}", response.start);
        client.expect_eof();
        response
    }

    /// No backend has gone out of the round, by the log.
    #[track_caller]
    pub fn assert_none_blamed(&self) {
        let stderr = self.process.stderr.text();
        assert!(!stderr.contains("out of the round"), "{stderr}");
    }

    /// A number from `/proc/PID/status`, such as `VmHWM` (in kilobytes) or `Threads`.
    pub fn status(&self, key: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("its status");
        let line =
            status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("the key");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// The CPU time so far, in user and system mode. `/proc` counts it in ticks of 10 ms.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("its times");
        let (_, behind_the_name) = stat.rsplit_once(')').expect("its name");
        let ticks = behind_the_name.split_whitespace().skip(11).take(2);
        ticks.map(|ticks| Duration::from_millis(10 * ticks.parse::<u64>().expect("ticks"))).sum()
    }

    /// How many descriptors the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("its descriptors").count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.with_tls.iter().copied().for_each(tls::forget_secured);
        let stderr = self.process.stderr.text();
        assert!(
            !stderr.contains("panicked at") || thread::panicking(),
            "a thread of the proxy panicked:\n{stderr}"
        );
    }
}

fn line(flags: &str, backends: &[SocketAddr]) -> String {
    let scheme = if tls::is_on_to_backends() { "https://" } else { "" };
    let backends: String = backends.iter().map(|address| format!(" {scheme}{address}")).collect();
    let trust = match tls::is_on_to_backends() {
        true => format!("--backend-ca {}", tls::identity().certificate.display()),
        false => String::new(),
    };
    let with_tls = if tls::is_on() { tls::flags() } else { String::new() };
    format!("--listen 127.0.0.1:0 {with_tls} {trust} {flags}{backends}")
}
