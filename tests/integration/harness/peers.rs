//! nginx and HAProxy in ronde's place: `RONDE_PEER=nginx cargo test --test integration`.
//!
//! Each gets the configuration that a careful administrator would write for the same job: HTTP/1.1 to the backends,
//! kept connections, the client's Host, upgrades, and the same timeouts and limits where it has a setting for them.

use super::process::Process;
use super::{TIMEOUT, scratch_directory, within};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

#[derive(Debug, Clone, Copy)]
pub enum Peer {
    Nginx,
    Haproxy,
}

impl Peer {
    pub fn chosen() -> Option<Peer> {
        match std::env::var("RONDE_PEER").as_deref() {
            Err(_) | Ok("" | "ronde") => None,
            Ok("nginx") => Some(Peer::Nginx),
            Ok("haproxy") => Some(Peer::Haproxy),
            Ok(other) => panic!("RONDE_PEER is {other:?}: ronde, nginx or haproxy"),
        }
    }

    pub fn start(self, flags: &str, backends: &[SocketAddr]) -> (Process, SocketAddr) {
        let directory = scratch_directory();
        let address = free_address();
        let settings = Settings::from(flags);
        let (configuration, mut command) = match self {
            Peer::Nginx => (nginx(&directory, address, &settings, backends), Command::new("/usr/sbin/nginx")),
            Peer::Haproxy => (haproxy(address, &settings, backends), Command::new("/usr/sbin/haproxy")),
        };
        let file = directory.join("conf");
        std::fs::write(&file, configuration).expect("its configuration");
        match self {
            Peer::Nginx => command.arg("-e").arg("stderr").arg("-p").arg(&directory).arg("-c").arg(&file),
            Peer::Haproxy => command.arg("-db").arg("-f").arg(&file),
        };
        let process = Process::spawn(&mut command);
        within(TIMEOUT, "the peer listens", || TcpStream::connect(address).is_ok());
        (process, address)
    }
}

/// Neither peer accepts port 0, so another process may take this port first. A second run then succeeds.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// The flags that have an equivalent in a peer, in milliseconds and bytes, with ronde's defaults.
struct Settings<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Settings<'a> {
    fn from(flags: &'a str) -> Settings<'a> {
        let words: Vec<_> = flags.split_whitespace().collect();
        Settings(words.windows(2).map(|pair| (pair[0], pair[1])).collect())
    }

    fn number(&self, flag: &str, default: u64) -> u64 {
        let Some((_, value)) = self.0.iter().find(|(name, _)| *name == flag) else {
            return default;
        };
        let digits = value.trim_end_matches(|mark: char| mark.is_ascii_alphabetic());
        let unit = match &value[digits.len()..] {
            "s" => 1000,
            "k" => 1 << 10,
            "m" => 1 << 20,
            _ => 1,
        };
        digits.parse::<u64>().expect("a number") * unit
    }
}

fn nginx(directory: &Path, address: SocketAddr, settings: &Settings, backends: &[SocketAddr]) -> String {
    let servers: String = backends.iter().map(|backend| format!("server {backend}; ")).collect();
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "  {kind}_temp_path {}/{kind};", directory.display());
    }
    let head = settings.number("--head-timeout", 10_000);
    let body = settings.number("--body-timeout", 30_000);
    let keep_alive = settings.number("--keep-alive-timeout", 60_000);
    let max_body = settings.number("--max-body", 0);
    let max_head = settings.number("--max-head", 65536);
    let connect = settings.number("--connect-timeout", 3000);
    let wait = settings.number("--response-timeout", settings.number("--idle-timeout", 60_000));
    let max_fails = settings.number("--max-fails", 1);
    let servers = servers.replace(';', &format!(" max_fails={max_fails};"));
    format!(
        "daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
{temporary}  map $http_upgrade $passed_connection {{ default upgrade; '' ''; }}
  upstream backends {{ {servers} keepalive 64; }}
  server {{
    listen {address} backlog=4096;
    client_header_timeout {head}ms; client_body_timeout {body}ms; keepalive_timeout {keep_alive}ms;
    client_max_body_size {max_body}; large_client_header_buffers 4 {max_head};
    location / {{
      proxy_pass http://backends; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;
      proxy_connect_timeout {connect}ms; proxy_read_timeout {wait}ms;
      proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $passed_connection;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
",
        directory = directory.display(),
    )
}

fn haproxy(address: SocketAddr, settings: &Settings, backends: &[SocketAddr]) -> String {
    let mut servers = String::new();
    for (number, backend) in backends.iter().enumerate() {
        let _ = writeln!(servers, "  server s{number} {backend}");
    }
    let buffer = settings.number("--max-head", 65536) + 1024;
    let denied = match settings.number("--max-body", 0) {
        0 => String::new(),
        limit => format!("  http-request deny status 413 if {{ req.body_size gt {limit} }}\n"),
    };
    let head = settings.number("--head-timeout", 10_000);
    let keep_alive = settings.number("--keep-alive-timeout", 60_000);
    let client = settings.number("--body-timeout", 30_000);
    let connect = settings.number("--connect-timeout", 3000);
    let server = settings.number("--response-timeout", settings.number("--idle-timeout", 60_000));
    format!(
        "global
  maxconn 4096
  tune.bufsize {buffer}
  tune.http.maxhdr 512
defaults
  mode http
  timeout http-request {head}ms
  timeout http-keep-alive {keep_alive}ms
  timeout client {client}ms
  timeout connect {connect}ms
  timeout server {server}ms
  timeout tunnel 1h
  option forwardfor
  option redispatch 1
  retry-on conn-failure empty-response
  http-reuse always
frontend clients
  bind {address}
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request disable-l7-retry unless METH_GET
{denied}  default_backend backends
backend backends
  balance roundrobin
{servers}"
    )
}
